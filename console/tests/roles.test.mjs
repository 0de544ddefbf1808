// Whoever is signed in: what they are shown works for them. Every page is opened and everything on it used that asks the
// server for something without changing anything; nothing of it is refused.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { open, shot, signIn, visitor } from "./browser.mjs";
import { House, until } from "./house.mjs";

let house, browser;
const queued = (map) => JSON.parse(house.tandem("queue", "stats", map, "-o", "json")).records;

before(async () => {
  house = new House();
  await house.serve();
  house.sql("crm", "CREATE TRIGGER refuse BEFORE INSERT ON notes BEGIN SELECT RAISE(ABORT, 'no notes today'); END;");
  house.sql("erp", "INSERT INTO notes (no, said) VALUES (1, 'a secret');");
  house.tandem("map", "pause", "customers", "prices", "--wait");
  house.sql("erp", "INSERT INTO customers VALUES ('C-1', 'Ann', 'Brno'); INSERT INTO prices VALUES (1, 100);");
  await until("they are queued", () => queued("customers") === 1 && queued("prices") === 1);
  await until("an error is open", () => JSON.parse(house.tandem("error", "list", "notes", "-o", "json")).items.length === 1);
  browser = await open();
});

after(async () => {
  await browser?.close();
  await house?.end();
});

const token = (name, ...more) => house.tandem("token", "create", name, ...more).trim().split("\n").at(-1);

// `search` names the maps whose queues can be searched by key, `acts` those of which something can be asked.
const people = {
  viewer: { token: () => token("vera", "--role", "viewer"), sees: ["customers", "notes", "orders", "prices"], search: [], acts: [] },
  operator: { token: () => token("otto", "--role", "operator"), sees: ["customers", "notes", "orders", "prices"], search: ["customers", "notes", "orders"], acts: ["customers", "notes", "orders", "prices"] },
  admin: { token: () => house.token, sees: ["customers", "notes", "orders", "prices"], search: ["customers", "notes", "orders", "prices"], acts: ["customers", "notes", "orders", "prices"] },
  "viewer of one map": { token: () => token("vic", "--role", "viewer", "--map", "notes"), sees: ["notes"], search: [], acts: [] },
  // What is done to customers is done to orders as well, which is not theirs.
  "operator of some maps": { token: () => token("ola", "--role", "operator", "--map", "customers", "--map", "notes"), sees: ["customers", "notes"], search: ["customers", "notes"], acts: ["notes"] },
};

for (const [who, person] of Object.entries(people)) {
  test(`what is shown to a person works for them: ${who}`, async () => {
    const { page, context, well } = await visitor(browser, house);
    await signIn(page, person.token());
    const refused = [];
    const asked = new Set();
    page.on("request", (request) => request.url().endsWith("/events") || asked.add(request));
    // Of what a page asked that was left nothing more is heard.
    page.on("framenavigated", () => asked.clear());
    for (const end of ["requestfinished", "requestfailed"]) page.on(end, (request) => asked.delete(request));
    page.on("response", (response) => {
      const request = `${response.request().method()} ${new URL(response.url()).pathname}`;
      // Not every map was compared before, which is no refusal.
      const isMissing = response.status() === 404 && /GET .*\/verify$/.test(request);
      if (response.status() >= 400 && !isMissing) refused.push(`${response.status()} ${request}`);
    });
    const dialog = page.getByRole("dialog");
    const settled = async () => {
      await page.locator("main h1, main h3").first().waitFor();
      await page.locator("p.waiting").waitFor({ state: "detached" });
      await until("everything is answered", () => asked.size === 0);
    };
    const visit = async (address) => {
      await page.goto(address);
      await page.locator(".top").waitFor();
      await settled();
    };
    /** Presses a button that opens a dialog, looks at it, and closes it. */
    const look = async (button) => {
      await button.click();
      await dialog.waitFor();
      await dialog.locator(".plan, .facts, .empty").first().waitFor();
      await page.keyboard.press("Escape");
      await dialog.waitFor({ state: "detached" });
    };

    await visit("/");
    assert.deepEqual(await page.locator("tbody .map-name a").allInnerTexts(), person.sees);
    const [search, acts] = [[], []];
    for (const map of person.sees) {
      for (const tab of ["", "/queue", "/errors", "/sync", "/mapping", "/verify", "/conflicts", "/activity"]) {
        await visit(`/maps/${map}${tab}`);
        const head = page.locator(".map-head .buttons button");
        if (tab === "") {
          if ((await head.count()) > 0) acts.push(map);
          for (const button of await head.all()) await look(button);
        }
        if (tab === "/queue") {
          if (await page.getByRole("search").isVisible()) {
            search.push(map);
            for (const way of ["key", "prefix"]) {
              await page.getByLabel("How the key is matched").selectOption(way);
              await page.getByLabel(/^Integration key/).fill("1");
              await page.getByRole("button", { name: "Find" }).click();
              await settled();
            }
            await page.getByRole("button", { name: "Show all" }).click();
          }
          // A link that somebody sent who may search.
          await visit(`/maps/${map}/queue?key=1`);
          await visit(`/maps/${map}/queue`);
        }
        const record = page.getByRole("button", { name: /^Look at/ });
        if ((await record.count()) > 0) await look(record.first());
        if (tab === "/mapping") {
          await page.getByLabel("no", { exact: true }).fill("7");
          await page.getByRole("button", { name: "Try it" }).click();
          await page.locator(".tried").waitFor();
        }
      }
    }
    assert.deepEqual(search, person.search);
    assert.deepEqual(acts, person.acts);
    const pages = await page.getByRole("navigation", { name: "Pages" }).getByRole("link").evaluateAll((links) => links.map((link) => link.getAttribute("href")));
    for (const address of [...pages, "/apps", "/rules"]) {
      await visit(address);
      for (const button of await page.locator("main .card .buttons button:not([aria-label^='Disable'])").all()) await look(button);
    }
    await visit("/maps/notes/errors");
    await shot(page, `errors-${who.replaceAll(" ", "-")}`);
    assert.deepEqual(refused, []);
    await context.close();
    well();
  });
}
