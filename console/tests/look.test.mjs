// Every page on a screen, in the dark and on a phone: nothing is cut or has to be scrolled sideways, every word has
// contrast enough, every control has a name and can be reached with the keyboard. The pictures are left in
// target/console-shots to be looked at.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { open, shot, signIn, visitor } from "./browser.mjs";
import { House, until } from "./house.mjs";

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

const looks = {
  wide: {},
  dark: { colorScheme: "dark" },
  phone: { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2 },
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

/** Takes a picture, and looks at what a program can look at. */
async function seen(page, name) {
  await shot(page, name, true);
  const found = await page.evaluate(faults);
  assert.deepEqual(found, [], name);
}

/** Runs in the page. */
function faults() {
  const found = [];
  if (document.documentElement.scrollWidth > window.innerWidth) found.push(`scrolls sideways: ${document.documentElement.scrollWidth}`);
  const isShown = (element) => element.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true }) && !element.closest(".hidden, .skip-link, option");
  const dialog = document.querySelector("dialog[open]");
  for (const element of (dialog ?? document).querySelectorAll("button, input, select, a, summary")) {
    if (!isShown(element)) continue;
    const label = element.labels?.[0]?.textContent || element.getAttribute("aria-label") || element.textContent;
    if (!label?.trim()) found.push(`has no name: ${element.outerHTML.slice(0, 80)}`);
  }
  const channels = (text) => {
    const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number);
    return text.startsWith("color(srgb") ? [r * 255, g * 255, b * 255, a] : [r, g, b, a];
  };
  const over = ([r, g, b, a], ground) => [r, g, b].map((value, place) => value * a + ground[place] * (1 - a));
  const ground = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      const layer = channels(getComputedStyle(at).backgroundColor);
      if (layer[3] > 0) layers.push(layer);
      if (layer[3] === 1) break;
    }
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const words = document.createTreeWalker(dialog ?? document.body, NodeFilter.SHOW_TEXT);
  for (let node = words.nextNode(); node; node = words.nextNode()) {
    const element = node.parentElement;
    if (!node.textContent.trim() || !isShown(element) || element.closest("noscript, script, :disabled, svg")) continue;
    const style = getComputedStyle(element);
    const below = ground(element);
    const ink = over(channels(style.color), below);
    let opacity = 1;
    for (let at = element; at; at = at.parentElement) opacity *= Number(getComputedStyle(at).opacity);
    const [a, b] = [light(over([...ink, opacity], below)), light(below)];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const size = parseFloat(style.fontSize);
    const least = size >= 24 || (size >= 18.6 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
    if (contrast < least) found.push(`contrast ${contrast.toFixed(2)}: ${node.textContent.trim().slice(0, 40)}`);
    const box = element.getBoundingClientRect();
    if (element.scrollWidth > element.clientWidth + 1 && style.overflowX === "hidden" && style.textOverflow !== "ellipsis" && box.width > 0) found.push(`cut: ${node.textContent.trim().slice(0, 40)}`);
  }
  return found;
}
