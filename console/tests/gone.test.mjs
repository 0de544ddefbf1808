// While the server does not answer nothing is called live and no button promises anything; when it does, the page goes on.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { open, shot, signIn, visitor } from "./browser.mjs";
import { House, until } from "./house.mjs";

let house, browser, page, well;

before(async () => {
  house = new House();
  await house.serve();
  browser = await open();
  ({ page, well } = await visitor(browser, house));
  await signIn(page, house.token);
});

after(async () => {
  await browser?.close();
  await house?.end();
});

const button = (name) => page.getByRole("button", { name });
const banner = () => page.getByText("The server does not answer.");
const live = () => page.locator(".live", { hasText: /^live$/ });

test("a connection that is cut without a word is not called live", async () => {
  await page.goto("/maps/notes");
  await live().waitFor();
  assert.ok(await button("Pause").isEnabled());
  await button("Pause").click();
  await page.getByRole("dialog").locator(".plan").waitFor();
  house.server.kill("SIGSTOP");
  try {
    await banner().waitFor();
    assert.ok(await page.getByRole("dialog").getByRole("button", { name: "Pause 1 map" }).isDisabled());
    await page.keyboard.press("Escape");
    assert.ok(await button("Pause").isDisabled());
    assert.equal(await live().count(), 0);
    await shot(page, "server-gone");
  } finally {
    house.server.kill("SIGCONT");
  }
  await banner().waitFor({ state: "detached" });
  await live().waitFor();
  await until("it can be asked again", () => button("Pause").isEnabled());
  house.tandem("map", "pause", "notes", "--wait");
  await page.locator(".map-head .pill", { hasText: "Paused" }).waitFor();
  well();
});

test("whoever's session ended with the server signs in again and is back where they were", async () => {
  await page.goto("/maps/notes/queue");
  await live().waitFor();
  await house.kill();
  await banner().waitFor();
  await house.start();
  await page.getByText("Your session has ended").waitFor();
  await shot(page, "session-ended");
  await page.getByLabel("Token", { exact: true }).fill(house.token);
  await button("Sign in").click();
  await page.getByRole("heading", { name: "notes" }).waitFor();
  assert.match(page.url(), /\/maps\/notes\/queue$/);
  await live().waitFor();
  well();
});
