// Several people at once: what one does the other sees, and who may only look does nothing.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { open, signIn, visitor } from "./browser.mjs";
import { House } from "./house.mjs";

let house, browser, page;

before(async () => {
  house = new House();
  await house.serve();
  browser = await open();
  ({ page } = await visitor(browser, house));
  await signIn(page, house.token);
});

after(async () => {
  await browser?.close();
  await house?.end();
});

const row = (name) => page.getByRole("row").filter({ has: page.getByRole("link", { name, exact: true }) });

test("what happens elsewhere shows by itself, also where events do not come", async () => {
  const { page: other, context, well } = await visitor(browser, house);
  await context.route("**/api/v1/events", (route) => route.abort());
  await signIn(other, house.token);
  house.tandem("map", "pause", "prices", "--wait");
  await other.getByRole("row").filter({ hasText: "prices" }).getByText("Paused", { exact: true }).waitFor();
  await page.goto("/");
  await row("prices").getByText("Paused", { exact: true }).waitFor();
  house.tandem("map", "resume", "prices", "--wait");
  await row("prices").getByText("Running").waitFor();
  await other.getByRole("row").filter({ hasText: "prices" }).getByText("Running").waitFor();
  await context.close();
  well();
});

test("a viewer sees no values and no buttons, and whoever signs out is out", async () => {
  const token = house.tandem("token", "create", "vera", "--role", "viewer").trim().split("\n").at(-1);
  const { page: other, context, well } = await visitor(browser, house);
  await signIn(other, token);
  await other.getByText("Your role is viewer").waitFor();
  assert.equal(await other.getByRole("checkbox").count(), 0);
  await other.goto("/maps/customers");
  await other.getByRole("heading", { name: "customers" }).waitFor();
  assert.equal(await other.getByRole("button", { name: /Pause|Resume|Stop/ }).count(), 0);
  await other.locator("summary", { hasText: "vera" }).click();
  await other.getByRole("button", { name: "Sign out" }).click();
  await other.getByLabel("Token", { exact: true }).waitFor();
  await other.goto("/activity");
  await other.getByLabel("Token", { exact: true }).waitFor();
  await context.close();
  well();
});
