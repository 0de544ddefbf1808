// A person's paths through the console, with the real binary on real databases.

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
});

after(async () => {
  await browser?.close();
  await house?.end();
});

const row = (name) => page.getByRole("row").filter({ has: page.getByRole("link", { name, exact: true }) });
const tab = (name) => page.getByRole("navigation", { name: "About this map" }).getByRole("link", { name });
const dialog = () => page.getByRole("dialog");
const button = (name) => page.getByRole("button", { name });
const state = (text) => page.locator(".map-head .pill", { hasText: text }).waitFor();
const queued = (map) => JSON.parse(house.tandem("queue", "stats", map, "-o", "json")).records;
const count = (table) => Number(house.sql("crm", `SELECT count(*) FROM ${table};`).split("\n").at(-1));

test("a wrong token is refused with what to do, and a right one lets in", async () => {
  await page.goto("/activity");
  await page.getByLabel("Token", { exact: true }).fill("tdm_wrong");
  await button("Sign in").click();
  await page.getByRole("alert").waitFor();
  await shot(page, "login-refused");
  await signIn(page, house.token);
  for (const name of ["customers", "orders", "notes", "prices"]) await row(name).getByText("Running").waitFor();
  const stored = await page.evaluate(() => [document.cookie, localStorage.length, sessionStorage.length]);
  assert.deepEqual(stored, ["", 0, 0], "no script can read what opens the session");
  well();
});

test("two maps are paused together, their dependents with them, and what is written queues", async () => {
  await page.goto("/");
  await page.getByLabel("Select customers").check();
  await page.getByLabel("Select notes").check();
  const bar = page.getByRole("region", { name: "Selected maps" });
  await bar.getByRole("button", { name: "Pause (+1 dependent)" }).click();
  await dialog().getByText("goes along").waitFor();
  await dialog().getByLabel(/Reason/).fill("maintenance of the CRM");
  await shot(page, "pause-dialog");
  await dialog().getByRole("button", { name: "Pause 3 maps" }).click();
  await dialog().waitFor({ state: "detached" });
  for (const name of ["customers", "orders", "notes"]) await row(name).getByText("Paused", { exact: true }).waitFor();
  await row("orders").getByText("Paused with customers").waitFor();
  await row("prices").getByText("Running").waitFor();
  const many = Array.from({ length: 120 }, (_, n) => `('C-${n}', 'Customer ${n}', 'Brno')`).join(",");
  house.sql("erp", `INSERT INTO customers VALUES ${many}; INSERT INTO orders SELECT rowid, no, 100 FROM customers;`);
  await row("customers").getByText("120 records").waitFor();
  assert.equal(count("accounts"), 0, "nothing is written while it is paused");
  await shot(page, "maps-paused");
  well();
});

test("a chart begins with what the server remembers", async () => {
  let remembered;
  // As if the server had run for longer: a thousand seconds before what it says.
  await page.route("**/api/v1/maps/customers/history", async (route) => {
    const answer = await route.fetch();
    const { steps } = await answer.json();
    remembered = steps;
    const [fine, coarse] = steps;
    const begun = Date.parse(fine.points[0].at);
    const before = Array.from({ length: 100 }, (_, n) => ({ ...fine.points[0], at: new Date(begun - (100 - n) * 10_000).toISOString() }));
    await route.fulfill({ response: answer, json: { steps: [{ ...fine, points: [...before, ...fine.points] }, coarse] } });
  });
  await page.goto("/maps/customers");
  const drawn = () => page.evaluate(() => [...document.querySelectorAll(".chart .curve")].map((curve) => curve.getAttribute("d").split("L").length));
  await page.waitForFunction(() => [...document.querySelectorAll(".chart .curve")].filter((curve) => curve.getAttribute("d").split("L").length > 100).length === 2);
  assert.deepEqual(remembered.map((steps) => steps.step_seconds), [10, 300]);
  const most = (name) => remembered.map((steps) => Math.max(...steps.points.map((point) => point[name])));
  assert.deepEqual(most("records"), [120, 120], "it knows what was written in the test before");
  assert.ok((await drawn()).every((points) => points < 300), "and it is bounded");
  await shot(page, "map-charts");
  await page.unroute("**/api/v1/maps/customers/history");
  well();
});

test("what came a moment ago is not drawn at the beginning of the five minutes that it came in", async () => {
  await page.route("**/api/v1/maps/customers/history", async (route) => {
    const ago = (seconds) => new Date(Date.now() - seconds * 1_000).toISOString();
    const point = (at, bytes) => ({ at, bytes, records: 1, lag_seconds: 0 });
    const fine = { step_seconds: 10, points: [point(ago(30), 0), point(ago(20), 0)] };
    const coarse = { step_seconds: 300, points: [point(ago(900), 50_000), point(ago(290), 900_000_000)] };
    await route.fulfill({ json: { steps: [fine, coarse] } });
  });
  await page.goto("/maps/customers");
  // The one before is drawn, as its scale shows; the one that still goes on is not.
  await page.locator(".chart").first().getByText("100 kB", { exact: true }).waitFor();
  assert.equal(await page.locator(".chart").first().getByText("1 GB", { exact: true }).count(), 0);
  await page.unroute("**/api/v1/maps/customers/history");
  well();
});

test("what stands in the way of an action on several maps is named, and nothing can be asked for", async () => {
  await page.goto("/");
  await page.getByLabel("Select customers").check();
  await page.getByLabel("Select prices").check();
  const bar = page.getByRole("region", { name: "Selected maps" });
  await bar.getByText(/Resume is not possible: prices is running/).waitFor();
  assert.ok(await bar.getByRole("button", { name: "Resume" }).isDisabled());
  await shot(page, "maps-blocked");
  await bar.getByRole("button", { name: "Clear" }).click();
  await bar.waitFor({ state: "detached" });
  well();
});

test("queued records are counted, loaded page by page, found by their key, and shown before and after", async () => {
  house.sql("erp", "UPDATE customers SET name = 'Renamed' WHERE no = 'C-7';");
  await page.goto("/maps/customers/queue");
  await page.locator(".list-head").getByText("121 queued records").waitFor();
  await page.getByText("Showing 50 of 121").waitFor();
  await shot(page, "queue");
  await button("Load more").click();
  await page.getByText("Showing 100 of 121").waitFor();
  await button("Load more").click();
  await page.getByText("Showing 121 of 121").waitFor();
  await page.getByLabel("Integration key: no").fill("C-7");
  await button("Find").click();
  await page.getByText("Showing 2", { exact: true }).waitFor();
  assert.match(page.url(), /key=C-7/, "the address holds the filter");
  await page.reload();
  await page.getByText("Showing 2", { exact: true }).waitFor();
  await page.getByLabel("What happened").selectOption("Update");
  await page.getByText("Showing 1", { exact: true }).waitFor();
  assert.match(page.url(), /op=update/, "the address holds what happened as well");
  await page.getByLabel("Committed before").fill("2001-02-03T04:05:06");
  await page.getByText("No queued record fits").waitFor();
  assert.match(page.url(), /until=2001-02-0\dT/);
  await shot(page, "queue-narrowed");
  await button("Any change, any time").click();
  await page.getByText("Showing 2", { exact: true }).waitFor();
  await page.getByRole("button", { name: /^Look at record/ }).last().click();
  const changed = dialog().getByRole("row", { name: /name/ }).first();
  await changed.getByText("Renamed").waitFor();
  await changed.getByText("Customer 7").waitFor();
  await dialog().getByText("accounts").waitFor();
  await shot(page, "queue-record");
  await page.keyboard.press("Escape");
  await dialog().waitFor({ state: "detached" });
  assert.equal(await page.evaluate(() => document.activeElement?.getAttribute("aria-label")?.startsWith("Look at record")), true, "the focus is back where it was");
  well();
});

test("a map is resumed by catch-up, in order and with its dependents", async () => {
  await page.goto("/maps/customers");
  await page.getByLabel("From erp to crm").getByText("121 queued records").waitFor();
  await shot(page, "map-paused", true);
  await button("Resume").click();
  await dialog().getByText("Catch up", { exact: true }).waitFor();
  await shot(page, "resume-dialog");
  await dialog().getByRole("button", { name: "Resume and catch up" }).click();
  await dialog().waitFor({ state: "detached" });
  await state("Running");
  await until("all customers are there", () => count("accounts") === 120);
  await until("all orders are there", () => count("orders") === 120);
  assert.equal(house.sql("crm", "SELECT name FROM accounts WHERE no = 'C-7';"), "Renamed");
  well();
});

test("a map and the dependent that is paused with it are resumed together", async () => {
  await page.goto("/");
  await button("Pause customers").click();
  await dialog().getByRole("button", { name: "Pause 2 maps" }).click();
  await row("orders").getByText("Paused with customers").waitFor();
  await page.getByLabel("Select customers").check();
  await page.getByLabel("Select orders").check();
  const bar = page.getByRole("region", { name: "Selected maps" });
  await bar.getByRole("button", { name: "Resume" }).click();
  await dialog().getByRole("button", { name: "Resume and catch up" }).click();
  for (const name of ["customers", "orders"]) await row(name).getByText("Running").waitFor();
  well();
});

test("a queue is discarded only after its count, the map's name and a reason were given", async () => {
  await page.goto("/maps/customers");
  await pause();
  house.sql("erp", "INSERT INTO customers VALUES ('D-1', 'one', 'Graz'), ('D-2', 'two', 'Graz');");
  await page.getByLabel("From erp to crm").getByText("2 queued records").waitFor();
  await button("Resume").click();
  await dialog().getByText("Skip to live, and discard the queue").click();
  await dialog().getByText(/^2 records \(.*\) will be lost$/).waitFor();
  const discard = dialog().getByRole("button", { name: "Discard 2 records" });
  assert.ok(await discard.isDisabled());
  await dialog().getByLabel("Type customers to confirm").fill("customers");
  assert.ok(await discard.isDisabled(), "a reason is missing");
  await dialog().getByLabel(/Reason/).fill("test data");
  await shot(page, "discard-dialog");
  await discard.click();
  await dialog().waitFor({ state: "detached" });
  await state("Running");
  house.sql("erp", "INSERT INTO customers VALUES ('D-3', 'three', 'Graz');");
  await until("the live change is there", () => house.sql("crm", "SELECT count(*) FROM accounts WHERE no LIKE 'D-%';") === "1");
  await tab("Activity").click();
  await page.getByText("Queue discarded").waitFor();
  well();
});

test("what was not the number that was seen is not discarded", async () => {
  await page.goto("/maps/customers");
  await pause();
  house.sql("erp", "INSERT INTO customers VALUES ('E-1', 'one', 'Graz');");
  await page.getByLabel("From erp to crm").getByText("1 queued record").waitFor();
  await button("Resume").click();
  await dialog().getByText("Skip to live, and discard the queue").click();
  await dialog().getByLabel("Type customers to confirm").fill("customers");
  await dialog().getByLabel(/Reason/).fill("test data");
  // What comes between the look and the click: the page is held back from hearing of it.
  await page.route("**/api/v1/plan", (route) => route.abort());
  await page.route("**/api/v1/actions", async (route) => {
    house.sql("erp", "INSERT INTO customers VALUES ('E-2', 'two', 'Graz');");
    await until("it is queued", () => queued("customers") === 2);
    await route.continue();
  });
  await dialog().getByRole("button", { name: "Discard 1 record" }).click();
  await dialog().getByText(/2 records are queued now, not 1/).waitFor();
  await page.unroute("**/api/v1/plan");
  await page.unroute("**/api/v1/actions");
  await shot(page, "discard-refused");
  await page.keyboard.press("Escape");
  await state("Paused");
  well();
});

test("a queue that is preserved becomes errors, and they are retried all together", async () => {
  await page.goto("/maps/customers");
  await page.getByLabel("From erp to crm").getByText("2 queued records").waitFor();
  await button("Resume").click();
  await dialog().getByText("Skip to live, and preserve the queue").click();
  await dialog().getByRole("button", { name: "Resume live" }).click();
  await dialog().waitFor({ state: "detached" });
  await state("Running");
  await tab("Catch-up errors").click();
  await page.getByText("2 open errors").waitFor();
  await shot(page, "errors-preserved");
  await button("Retry all").click();
  await page.getByText("No errors", { exact: true }).waitFor();
  await until("they are applied", () => house.sql("crm", "SELECT count(*) FROM accounts WHERE no LIKE 'E-%';") === "2");
  well();
});

test("while a map catches up it can be skipped to live", async () => {
  await page.goto("/maps/customers");
  await pause();
  // One by one: what is captured at one look is one transaction, and is applied whole.
  for (let n = 1; n <= 20; n++) {
    house.sql("erp", `INSERT INTO customers VALUES ('S-${n}', 'slow', 'Oulu');`);
    await until("it is queued", () => queued("customers") === n);
  }
  await page.getByLabel("From erp to crm").getByText("20 queued records").waitFor();
  await button("Resume").click();
  await dialog().getByLabel(/At most so many records a second/).fill("1");
  await dialog().getByRole("button", { name: "Resume and catch up" }).click();
  await dialog().waitFor({ state: "detached" });
  await state("Resuming");
  await page.getByRole("heading", { name: "Catching up" }).waitFor();
  await shot(page, "resuming", true);
  await button("Skip to live").click();
  await dialog().getByText("Preserve them as catch-up errors").waitFor();
  await shot(page, "skip-dialog");
  await dialog().getByRole("button", { name: "Skip to live" }).click();
  await dialog().waitFor({ state: "detached" });
  await state("Running");
  await tab("Catch-up errors").click();
  await page.getByText(/^\d+ open errors$/).waitFor();
  await button("Delete all").click();
  await dialog().getByLabel("Type customers to confirm").fill("customers");
  await dialog().getByLabel("Reason").fill("not needed");
  await shot(page, "delete-errors");
  await dialog().getByRole("button", { name: /^Delete \d+ errors$/ }).click();
  await dialog().waitFor({ state: "detached" });
  await page.getByText("No errors", { exact: true }).waitFor();
  well();
});

test("what the destination refuses is shown by cause, and retried when it is mended", async () => {
  house.sql("crm", "CREATE TRIGGER no_bad BEFORE INSERT ON accounts WHEN NEW.name = 'bad' BEGIN SELECT RAISE(ABORT, 'bad names are not taken'); END;");
  house.sql("erp", "INSERT INTO customers VALUES ('B-1', 'bad', 'Lyon'), ('B-2', 'bad', 'Lyon'), ('B-3', 'good', 'Lyon');");
  await page.goto("/maps/customers/errors");
  await page.getByText("2 open errors").waitFor();
  await page.getByRole("list", { name: "Causes" }).getByText("bad names are not taken").waitFor();
  await shot(page, "errors", true);
  await page.getByRole("button", { name: /^Look at error/ }).first().click();
  await dialog().getByText("bad names are not taken").first().waitFor();
  await shot(page, "error-record");
  await page.keyboard.press("Escape");
  await page.getByRole("checkbox", { name: /^Select error/ }).first().check();
  await button("Retry 1 selected").click();
  await until("it was refused again", async () => (await page.locator("td[data-label=Attempts]").allInnerTexts()).some((text) => Number(text) > 1));
  house.sql("crm", "DROP TRIGGER no_bad;");
  await page.getByRole("list", { name: "Causes" }).getByText("bad names are not taken").click();
  await button("Delete all of this kind").click();
  await dialog().getByRole("button", { name: "Delete 2 errors" }).waitFor();
  await page.keyboard.press("Escape");
  await page.getByLabel("Retry with the source's row as it is now").check();
  const asked = page.waitForRequest("**/errors/retry");
  await button("Retry all of this kind").click();
  assert.deepEqual((await asked).postDataJSON(), { class: "application", refresh: true });
  await page.getByText("No errors of this kind", { exact: true }).waitFor();
  await until("they are applied", () => house.sql("crm", "SELECT count(*) FROM accounts WHERE no LIKE 'B-%';") === "3");
  await button("Show all errors").click();
  await page.getByText("No errors", { exact: true }).waitFor();
  await page.getByLabel("Those that ended").check();
  // Of what was written as it is in the source now, the recorded change is superseded.
  await page.getByText("superseded", { exact: true }).first().waitFor();
  well();
});

test("an app is paused and resumed as a whole", async () => {
  await page.goto("/apps");
  await button("Pause crm").click();
  await dialog().getByRole("button", { name: /^Pause \d maps$/ }).click();
  await dialog().waitFor({ state: "detached" });
  const crm = page.getByRole("region", { name: "crm" });
  await until("all are paused", async () => (await crm.locator(".pill.paused").count()) === 4);
  await shot(page, "apps-paused");
  await button("Resume crm").click();
  await dialog().getByRole("button", { name: "Resume and catch up" }).click();
  await dialog().waitFor({ state: "detached" });
  await until("all run", async () => (await crm.locator("li .pill.running").count()) === 4);
  well();
});

test("what is to be done about the server itself stands where the health of the apps does", async () => {
  const finding = { severity: "warning", code: "certificate_expires", place: "[server] tls", message: "the server's certificate expires in 3 days, at 2026-11-25 12:00Z", fix: "put a new one in its place, then: tandem reload" };
  await page.route("**/api/v1/server", async (route) => {
    const answer = await route.fetch();
    await route.fulfill({ response: answer, json: { ...(await answer.json()), findings: [finding] } });
  });
  await page.goto("/apps");
  await page.getByText("certificate expires in 3 days").waitFor();
  await page.getByText("then: tandem reload").waitFor();
  await shot(page, "apps-certificate");
  await page.unroute("**/api/v1/server");
  await page.goto("/apps");
  await page.getByRole("region", { name: "crm" }).waitFor();
  assert.equal(await page.getByText("certificate").count(), 0);
  well();
});

test("how fast changes are applied is drawn since the page was opened", async () => {
  await page.goto("/");
  const spark = row("prices").getByRole("img", { name: /applied of late/ });
  await spark.waitFor();
  house.sql("erp", "INSERT INTO prices SELECT 1000 + value, 1 FROM generate_series(1, 500);");
  await page.waitForFunction(() => [...document.querySelectorAll(".spark svg")].some((drawn) => Number(/([\d.]+)\/s at most/.exec(drawn.getAttribute("aria-label"))?.[1]) > 10));
  await shot(page, "maps-rate");
  await row("prices").getByRole("link", { name: "prices" }).click();
  await page.locator(".map-head").getByRole("img", { name: /applied of late/ }).waitFor();
  well();
});

test("a rule is switched off and on, and says when it would have fired", async () => {
  await page.goto("/rules");
  await button("Disable crm-down").click();
  await page.getByText("Disabled", { exact: true }).waitFor();
  await button("Enable crm-down").click();
  await page.getByText("Enabled", { exact: true }).waitFor();
  await button("Test crm-down").click();
  await dialog().getByText(/Not once|would/).first().waitFor();
  await shot(page, "rule-test");
  await page.keyboard.press("Escape");
  well();
});

test("two tables are compared, and a row is tried", async () => {
  house.sql("crm", "UPDATE accounts SET name = 'other' WHERE no = 'C-1';");
  await page.goto("/maps/customers/verify");
  await button("Compare").click();
  await page.getByRole("heading", { name: /records? differs?/ }).waitFor();
  await page.getByText("has other values").first().waitFor();
  await shot(page, "verify", true);
  // Only what was seen to differ is repaired: one more differs by now.
  house.sql("crm", "UPDATE accounts SET name = 'later' WHERE no = 'C-2';");
  await button("Make crm equal to erp …").click();
  const repair = dialog().getByRole("button", { name: /^Repair \d+ records?$/ });
  await dialog().getByText(/^In crm: 1 record written over, \d+ records added$/).waitFor();
  assert.ok(await repair.isDisabled());
  await dialog().getByLabel("Type customers to confirm").fill("customers");
  await dialog().getByLabel("Reason").fill("somebody typed into the CRM");
  await shot(page, "verify-repair");
  await repair.click();
  await dialog().waitFor({ state: "detached" });
  await page.getByRole("heading", { name: /records? repaired/ }).waitFor();
  await shot(page, "verify-repaired", true);
  const name = (no) => house.sql("crm", `SELECT name FROM accounts WHERE no = '${no}';`);
  assert.deepEqual([name("C-1"), name("C-2")], [house.sql("erp", "SELECT name FROM customers WHERE no = 'C-1';"), "later"]);
  await page.goto("/maps/customers/mapping");
  await page.getByLabel("no", { exact: true }).fill("T-1");
  await page.getByLabel("name", { exact: true }).fill("tried");
  await page.getByLabel("city", { exact: true }).fill("null");
  await button("Try it").click();
  await page.locator(".tried").getByText("tried").waitFor();
  await shot(page, "mapping", true);
  well();
});

test("what happens to each column is said in words, and folded where it is long", async () => {
  const way = (name, steps = [], more = {}) => ({ from: { kind: "column", name }, steps, lookup: null, ...more });
  const list = (count) => ({ kind: "values", pairs: Array.from({ length: count }, (_, n) => ({ from: String(n), to: `value ${n}` })), others_pass: false });
  const column = (left, right, to_right, to_left = null, more = {}) => ({ left, right, key: false, sensitive: false, to_right, to_left, ...more });
  const mapping = {
    columns: [
      column("no", "no", way("no"), way("no"), { key: true }),
      column("name", "name", way("name", [{ kind: "trim" }, { kind: "replace", from: "  ", to: " " }, { kind: "truncate", characters: 160 }, { kind: "case", to: "upper" }]), way("name")),
      column("grp", "segment", way("grp", [list(2)]), way("segment", [list(2)])),
      column("country", "a_column_with_a_rather_long_name_of_its_own", way("country", [list(40)])),
      column("pin", "pin", way("pin", [{ kind: "default", value: "(masked)" }]), null, { sensitive: true }),
      column("total", "total", way("total", [{ kind: "scale", digits: 2, rounding: "half_even" }, { kind: "timezone", zone: "Europe/Berlin" }])),
      column(null, "origin", { from: { kind: "constant", value: "erp" }, steps: [], lookup: null }),
      column(null, "label", { from: { kind: "expression", text: "first_name + ' ' + row['last name'] + decimal_round(decimal_mul(total, '1.2'), 2, 'half_up')" }, steps: [{ kind: "trim" }], lookup: null }),
      column("customer", "account_id", way("customer", [], { lookup: { map: "customers", column: "id" } })),
    ],
    initial_sync: true,
    two_way: { conflict: "left_wins", side_effects: "sync", master: "left" },
  };
  await page.route("**/api/v1/maps/customers/mapping", (route) => route.fulfill({ json: mapping }));
  await page.goto("/maps/customers/mapping");
  const columns = page.getByRole("region", { name: "Columns" });
  await columns.getByText("At most 160 characters").waitFor();
  const text = await columns.innerText();
  for (const said of ["as it is", "UPPER CASE", "value 1", "Others are refused", "masked", "2 decimal places", "Always erp", "Looked up", "the left one wins"]) assert.ok(text.includes(said), `${said} is not in: ${text}`);
  assert.ok(!text.includes("value 39") && !/[{}\[\]]/.test(text.replace("row['last name']", "")), `nothing raw, and nothing without end: ${text}`);
  await columns.getByText("40 values called otherwise").click();
  await columns.getByText("value 39").waitFor();
  await columns.getByText("40 values called otherwise").click();
  await shot(page, "mapping-whole", true);
  await page.setViewportSize({ width: 390, height: 844 });
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), "it is not scrolled sideways");
  await shot(page, "mapping-whole-phone", true);
  await page.setViewportSize({ width: 1280, height: 860 });
  await page.unroute("**/api/v1/maps/customers/mapping");
  well();
});

test("the activity log says who did what and why, and goes on by itself", async () => {
  await page.goto("/activity");
  const first = page.getByText("maintenance of the CRM").first();
  await page.getByText(/^Showing/).waitFor();
  await shot(page, "activity");
  await until("the beginning is loaded", async () => (await first.isVisible()) || void (await button("Load more").click({ timeout: 1_000 }).catch(() => {})));
  house.tandem("map", "pause", "notes", "--reason", "seen without a reload");
  await page.getByText("seen without a reload").waitFor();
  house.tandem("map", "resume", "notes");
  well();
});

/** Pauses the map whose page is open. */
async function pause() {
  await button("Pause").click();
  await dialog().getByRole("button", { name: /^Pause \d/ }).click();
  await dialog().waitFor({ state: "detached" });
  await state("Paused");
}
