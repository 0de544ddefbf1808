// The console over TLS, and beside another server on the same host.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { open, signIn, visitor } from "./browser.mjs";
import { House } from "./house.mjs";

const houses = [new House({ tls: true }), new House({ tls: true })];
let browser;

before(async () => {
  for (const house of houses) await house.serve();
  browser = await open();
});

after(async () => {
  await browser?.close();
  for (const house of houses) await house.end();
});

const row = (page, name) => page.getByRole("row").filter({ has: page.getByRole("link", { name, exact: true }) });

test("two servers of one host have a session each, which nothing but TLS carries", async () => {
  const [first, second] = houses;
  const { page, context, well } = await visitor(browser, first, { ignoreHTTPSErrors: true });
  await signIn(page, first.token);
  const other = await context.newPage();
  await other.goto(second.url);
  await other.getByLabel("Token", { exact: true }).fill(second.token);
  await other.getByRole("button", { name: "Sign in" }).click();
  await row(other, "customers").waitFor();
  const port = (house) => new URL(house.url).port;
  const cookies = (await context.cookies()).map(({ name, secure, httpOnly, sameSite }) => ({ name, secure, httpOnly, sameSite }));
  const expected = houses.map((house) => ({ name: `__Host-tandem_session_${port(house)}`, secure: true, httpOnly: true, sameSite: "Strict" }));
  const byName = (a, b) => (a.name < b.name ? -1 : 1);
  assert.deepEqual(cookies.sort(byName), expected.sort(byName));

  // Whoever acts is believed to be on a page of the server's own, and what happens comes by itself.
  await page.goto("/");
  await page.getByLabel("Select prices").check();
  await page.getByRole("region", { name: "Selected maps" }).getByRole("button", { name: /^Pause/ }).click();
  await page.getByRole("dialog").getByLabel(/Reason/).fill("TLS");
  await page.getByRole("dialog").getByRole("button", { name: /^Pause/ }).click();
  await row(page, "prices").getByText("Paused", { exact: true }).waitFor();
  first.tandem("map", "resume", "prices", "--wait");
  await row(page, "prices").getByText("Running").waitFor();
  await row(other, "prices").getByText("Running").waitFor();
  await context.close();
  well();
});
