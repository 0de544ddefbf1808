// What a person does once happens once: also if they click twice, and if the answer is lost on its way.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { open, signIn, visitor } from "./browser.mjs";
import { House } from "./house.mjs";

let house, browser, page, well;
/** What acted, as it was sent. */
const sent = [];

before(async () => {
  house = new House();
  await house.serve();
  browser = await open();
  ({ page, well } = await visitor(browser, house));
  page.on("request", (request) => {
    const path = new URL(request.url()).pathname.replace("/api/v1", "");
    if (request.method() === "POST" && !["/plan", "/session"].includes(path)) sent.push({ path, key: request.headers()["idempotency-key"] });
  });
  await signIn(page, house.token);
});

after(async () => {
  await browser?.close();
  await house?.end();
});

const dialog = () => page.getByRole("dialog");
const button = (name) => page.getByRole("button", { name });
const state = (text) => page.locator(".map-head .pill", { hasText: text }).waitFor();
/** How often something stands in the activity log. */
const times = (event) => JSON.parse(house.tandem("activity", "--limit", "500", "-o", "json")).items.filter((entry) => entry.event === event).length;

async function press(verb, effect) {
  await button(verb).click();
  await dialog().getByRole("button", { name: effect }).click();
}

test("each click has a key of its own", async () => {
  await page.goto("/maps/notes");
  for (let turn = 0; turn < 2; turn += 1) {
    await press("Pause", "Pause 1 map");
    await state("Paused");
    await press("Resume", "Resume and catch up");
    await state("Running");
  }
  const keys = sent.splice(0).map(({ key }) => key);
  assert.equal(keys.length, 4);
  assert.ok(keys.every((key) => /^[0-9a-f]{32}$/.test(key)), keys.join());
  assert.equal(new Set(keys).size, 4);
  well();
});

test("a double click does a thing once, and not its opposite after it", async () => {
  await page.goto("/rules");
  await button("Disable crm-down").dblclick();
  await button("Enable crm-down").waitFor();
  await page.goto("/maps/notes/verify");
  await button("Compare").dblclick();
  await page.getByRole("heading", { name: "The tables are equal" }).waitFor();
  await page.goto("/maps/notes");
  await button("Pause").click();
  await dialog().getByRole("button", { name: "Pause 1 map" }).dblclick();
  await state("Paused");
  await press("Resume", "Resume and catch up");
  await state("Running");
  assert.deepEqual(sent.splice(0).map(({ path }) => path), ["/rules/crm-down/disable", "/maps/notes/verify", "/actions", "/actions"]);
  assert.deepEqual([times("rule.disabled"), times("rule.enabled"), times("map.verify")], [1, 0, 1]);
  well();
});

test("a request whose answer is lost is sent again with its key, and done once", async () => {
  const before = times("map.pause");
  let lost = 0;
  await page.route("**/api/v1/actions", async (route) => {
    if (lost > 0) return route.continue();
    lost += 1;
    assert.equal((await route.fetch()).status(), 200);
    await route.abort("connectionreset");
  });
  await press("Pause", "Pause 1 map");
  await dialog().waitFor({ state: "detached" });
  await state("Paused");
  const keys = sent.splice(0).map(({ key }) => key);
  assert.equal(keys.length, 2);
  assert.equal(keys[0], keys[1]);
  assert.equal(times("map.pause"), before + 1);
  await page.unroute("**/api/v1/actions");
  well();
});

test("whoever presses again after no answer came sends the same request", async () => {
  const before = times("map.verify");
  await page.goto("/maps/notes/verify");
  await page.route("**/api/v1/maps/notes/verify", async (route) => {
    if (route.request().method() === "GET") return route.continue();
    await route.fetch();
    await route.abort("connectionreset");
  });
  await button("Compare").click();
  await page.getByText("It is not known whether this was done.").waitFor();
  await page.unroute("**/api/v1/maps/notes/verify");
  const answered = page.waitForResponse((response) => response.request().method() === "POST");
  await button("Compare").click();
  assert.equal((await answered).headers()["idempotency-replayed"], "true");
  await page.getByText("It is not known whether this was done.").waitFor({ state: "detached" });
  assert.equal(new Set(sent.splice(0).map(({ key }) => key)).size, 1);
  assert.equal(times("map.verify"), before + 1);
  well();
});
