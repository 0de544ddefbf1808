// A gap in an app's log, from the page of the apps: who may go on behind it, what that says, and what is so afterwards.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { open, shot, signIn, visitor } from "./browser.mjs";
import { House, until } from "./house.mjs";
import { looks, seen } from "./seen.mjs";

let house, browser;

before(async () => {
  house = new House();
  await house.serve();
  house.sql("erp", "INSERT INTO notes (no, said) VALUES (1, 'before it');");
  await until("it is written", () => house.sql("crm", "SELECT count(*) FROM notes;") === "1");
  house.tandem("map", "pause", "notes", "--wait");
  house.sql("erp", "INSERT INTO notes (no, said) VALUES (2, 'queued before it');");
  await until("it is queued", () => JSON.parse(house.tandem("queue", "stats", "notes", "-o", "json")).records === 1);
  // A table that is made anew has lost our triggers: what is written to it then, nobody knows.
  house.sql(
    "erp",
    `BEGIN; CREATE TABLE anew AS SELECT * FROM prices; DROP TABLE prices; CREATE TABLE prices (no INTEGER PRIMARY KEY, cents INTEGER);
     INSERT INTO prices SELECT * FROM anew; DROP TABLE anew; COMMIT; INSERT INTO prices VALUES (7, 700);`,
  );
  await until("the gap is seen", () => maps().every((map) => map.state === "paused" && hasGap(map)));
  browser = await open();
});

after(async () => {
  await browser?.close();
  await house?.end();
});

const maps = () => JSON.parse(house.tandem("map", "list", "-o", "json")).items;
const hasGap = (map) => map.conditions.some((condition) => condition.type === "GapDetected" && condition.status);
const region = (page, name) => page.getByRole("region", { name, exact: true });
const accept = (page, app) => region(page, app).getByRole("button", { name: /^Go on behind the gap/ });

test("who may not act is told of a gap, and offered nothing", async () => {
  const { page, context, well } = await visitor(browser, house);
  await signIn(page, house.tandem("token", "create", "vera", "--role", "viewer").trim().split("\n").at(-1));
  await page.goto("/apps");
  await region(page, "erp").getByText("Gap in the source's log").waitFor();
  assert.equal(await accept(page, "erp").count(), 0);
  await context.close();
  well();
});

for (const [look, options] of Object.entries(looks)) {
  test(`a gap and what going on behind it loses are readable: ${look}`, async () => {
    const { page, context, well } = await visitor(browser, house, options);
    await signIn(page, house.token);
    await page.goto("/apps");
    await accept(page, "erp").waitFor();
    await seen(page, `${look}-gap`);
    await accept(page, "erp").click();
    await page.getByRole("dialog").waitFor();
    await seen(page, `${look}-gap-dialog`);
    await page.getByRole("dialog").getByLabel("Reason").scrollIntoViewIfNeeded();
    await shot(page, `${look}-gap-dialog-end`);
    await context.close();
    well();
  });
}

test("what a destination has lost is no gap to go on behind", async () => {
  const { page, context, well } = await visitor(browser, house);
  await signIn(page, house.token);
  // The same condition, with what mends it then.
  await page.route("**/api/v1/maps?*", async (route) => {
    const answer = await route.fetch();
    const read = await answer.json();
    for (const condition of read.items.flatMap((map) => map.conditions)) if (condition.type === "GapDetected") condition.fix = "tandem map stop notes --queue discard --yes, then tandem map run notes";
    await route.fulfill({ response: answer, json: read });
  });
  await page.goto("/apps");
  await region(page, "erp").getByText("In trouble").waitFor();
  for (const app of ["erp", "crm"]) assert.equal(await accept(page, app).count(), 0, app);
  await context.close();
  well();
});

test("a gap is gone on behind for a reason, and what was queued before it is applied first", async () => {
  const { page, context, well } = await visitor(browser, house);
  await signIn(page, house.tandem("token", "create", "otto", "--role", "operator").trim().split("\n").at(-1));
  await page.goto("/apps");
  await accept(page, "erp").waitFor();
  assert.equal(await accept(page, "crm").count(), 0, "the gap is in the log of the other one");
  await region(page, "erp").getByText("In trouble").waitFor();
  await accept(page, "erp").click();
  const dialog = page.getByRole("dialog");
  const act = dialog.getByRole("button", { name: "Go on without what is in the gap" });
  await dialog.getByText("will never come by itself").waitFor();
  await dialog.getByRole("listitem").filter({ hasText: "notes" }).getByText("1 record queued").waitFor();
  assert.ok(await act.isDisabled());
  await dialog.getByLabel("Reason").fill("the table was made anew");
  assert.ok(await act.isDisabled());
  await dialog.getByLabel("Type erp to confirm").fill("erp");
  const asked = page.waitForRequest("**/apps/erp/accept-gap");
  await act.click();
  assert.deepEqual((await asked).postDataJSON(), { reason: "the table was made anew" });
  await dialog.waitFor({ state: "detached" });
  await accept(page, "erp").waitFor({ state: "detached" });
  await until("the gap is behind us", () => maps().every((map) => !hasGap(map)));
  assert.ok(maps().every((map) => map.state === "paused"), "nothing is resumed by it");
  house.sql("erp", "INSERT INTO notes (no, said) VALUES (3, 'behind it');");
  await until("it is queued behind what was queued before", () => JSON.parse(house.tandem("queue", "stats", "notes", "-o", "json")).records === 2);
  house.tandem("map", "resume", "customers", "orders", "notes", "prices", "--wait");
  await until("both are written", () => house.sql("crm", "SELECT count(*) FROM notes;") === "3");
  // What was changed in the gap is brought by nobody but a comparison, as the dialog says.
  assert.equal(house.sql("crm", "SELECT count(*) FROM prices;"), "0");
  house.tandem("map", "verify", "prices", "--repair", "left", "--yes");
  assert.equal(house.sql("crm", "SELECT cents FROM prices;"), "700");
  await page.goto("/activity");
  await page.getByText("the table was made anew").first().waitFor();
  await page.getByText("Gap accepted").first().waitFor();
  await context.close();
  well();
});
