// Every page on a screen, in the dark and on a phone: nothing is cut or has to be scrolled sideways, every word has
// contrast enough, every control has a name and can be reached with the keyboard. The pictures are left in
// target/console-shots to be looked at.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { open, signIn, visitor } from "./browser.mjs";
import { House, until } from "./house.mjs";
import { looks, seen } from "./seen.mjs";

let house, browser;

const pages = {
  maps: "/",
  overview: "/maps/customers",
  "overview-stopped": "/maps/prices",
  queue: "/maps/customers/queue",
  errors: "/maps/notes/errors",
  sync: "/maps/orders/sync",
  mapping: "/maps/customers/mapping",
  verify: "/maps/customers/verify",
  "map-activity": "/maps/customers/activity",
  "map-conflicts": "/maps/prices/conflicts",
  apps: "/apps",
  rules: "/rules",
  activity: "/activity",
  conflicts: "/conflicts",
  nowhere: "/nowhere",
};

before(async () => {
  house = new House();
  await house.serve();
  house.sql("crm", "CREATE TRIGGER refuse BEFORE INSERT ON notes BEGIN SELECT RAISE(ABORT, 'the CRM takes no notes today, whatever they say; ask its administrator'); END;");
  house.sql("erp", "INSERT INTO notes (no, said) VALUES (1, 'one'), (2, 'two'), (3, 'three');");
  house.tandem("map", "stop", "orders");
  house.tandem("map", "run", "orders", "--initial-sync", "--wait");
  house.tandem("map", "pause", "customers", "--reason", "maintenance of the CRM", "--wait");
  house.tandem("map", "stop", "prices");
  const many = Array.from({ length: 300 }, (_, n) => `('C-${String(n).padStart(5, "0")}', 'A customer with a name that is rather long, number ${n}', 'Utrecht')`);
  house.sql("erp", `INSERT INTO customers VALUES ${many.join(",")};`);
  await until("they are queued", () => JSON.parse(house.tandem("queue", "stats", "customers", "-o", "json")).records === 300);
  await until("errors are open", () => JSON.parse(house.tandem("error", "list", "notes", "-o", "json")).items.length === 3);
  browser = await open();
});

after(async () => {
  await browser?.close();
  await house?.end();
});

for (const [look, options] of Object.entries(looks)) {
  test(`every page is readable: ${look}`, async () => {
    const { page, context, well } = await visitor(browser, house, options);
    await page.goto("/");
    await page.getByLabel("Token", { exact: true }).waitFor();
    await seen(page, `${look}-login`);
    await signIn(page, house.token);
    for (const [name, address] of Object.entries(pages)) {
      await page.goto(address);
      await page.locator("main h1, main h3").first().waitFor();
      await page.locator("p.waiting").waitFor({ state: "detached" });
      await seen(page, `${look}-${name}`);
    }
    await page.goto("/");
    await page.getByLabel("Select customers").check();
    await page.getByRole("region", { name: "Selected maps" }).getByRole("button", { name: "Resume" }).click();
    await page.getByText("Skip to live, and discard the queue").click();
    await page.getByText("will be lost").waitFor();
    await seen(page, `${look}-resume`);
    await context.close();
    well();
  });
}

test("everything that can be pressed is reached with the keyboard, and shows that it has the focus", async () => {
  const { page, context } = await visitor(browser, house);
  await signIn(page, house.token);
  await page.goto("/maps/customers");
  await page.getByRole("button", { name: "Resume" }).waitFor();
  const reached = new Set();
  for (let n = 0; n < 60; n++) {
    await page.keyboard.press("Tab");
    const focus = await page.evaluate(() => {
      const focused = document.activeElement;
      const style = getComputedStyle(focused);
      return { words: focused.textContent, visible: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2, body: focused === document.body };
    });
    if (focus.body) break;
    assert.ok(focus.visible, `no focus to be seen on ${focus.words}`);
    reached.add(focus.words.trim());
  }
  for (const words of ["Resume", "Stop", "Maps", "Activity", "Overview"]) assert.ok(reached.has(words), `${words} is not reached: ${[...reached].join(", ")}`);
  await page.getByRole("button", { name: "Resume" }).focus();
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").waitFor();
  for (let n = 0; n < 20; n++) {
    await page.keyboard.press("Tab");
    const outside = await page.evaluate(() => document.activeElement !== document.body && !document.activeElement.closest("dialog"));
    assert.ok(!outside, "the focus stays in the dialog");
  }
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await page.goto("/");
  await page.getByRole("heading", { name: "Maps", level: 1 }).waitFor();
  await page.getByText("customers", { exact: true }).waitFor();
  await page.keyboard.press("/");
  await page.keyboard.type("not");
  await until("one map is left", async () => (await page.locator("tbody tr").count()) === 1);
  await context.close();
});
