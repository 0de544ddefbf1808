// Values, keys, names of columns, reasons and errors that are written to be run: they show as the text that they are, and
// nothing of them runs. Twice over: nothing sets HTML, and the page's policy would run none.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { open, shot, signIn, visitor } from "./browser.mjs";
import { House } from "./house.mjs";

const CORPUS = [
  "<script>window.hacked=1</script>",
  "<img src=x onerror=window.hacked=1>",
  "\"><svg onload=window.hacked=1>",
  "javascript:window.hacked=1",
  "'-alert(1)-'",
  "{{constructor.constructor('window.hacked=1')()}}",
  "<iframe srcdoc='<script>parent.hacked=1</script>'>",
  "<a href=\"javascript:window.hacked=1\">click</a>",
  "</title></textarea><script>window.hacked=1</script>",
  "<style>*{display:none}</style>",
  "\u202e<b>turned round</b>",
  "__proto__",
];
const text = (value) => `'${value.replaceAll("'", "''")}'`;

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

async function runsNothing() {
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  assert.equal(await page.locator("main script, main iframe, main img, main style, dialog script, dialog img").count(), 0);
  assert.equal(await page.locator("a[href^='javascript:']").count(), 0);
  well();
}

test("hostile keys and values of queued records are text", async () => {
  house.tandem("map", "pause", "customers", "notes", "--wait", "--reason", CORPUS[1]);
  CORPUS.forEach((value, n) => house.sql("erp", `INSERT INTO customers VALUES (${text(value)}, ${text(value)}, ${text(value)}); INSERT INTO notes VALUES (${n}, ${text(value)}, ${text(value)});`));
  await page.goto("/maps/customers/queue");
  await page.getByText(`Showing ${CORPUS.length} of`).waitFor();
  const keys = await page.locator("td.wide").allInnerTexts();
  assert.deepEqual(keys.map((key) => key.trim()), CORPUS);
  await page.getByText(CORPUS[1]).first().waitFor();
  await shot(page, "hostile-queue");
  for (const n of CORPUS.keys()) {
    await page.goto("/maps/notes/queue");
    await page.getByRole("button", { name: /^Look at record/ }).nth(n).click();
    await page.getByRole("dialog").getByText(CORPUS[n], { exact: true }).first().waitFor();
    await runsNothing();
  }
  await shot(page, "hostile-record");
  await page.goto(`/maps/customers/queue?key=${encodeURIComponent(CORPUS[0])}`);
  await page.getByText("Showing 1", { exact: true }).waitFor();
  await runsNothing();
});

test("hostile words in an address, a reason and an error are text", async () => {
  await page.goto(`/maps/${encodeURIComponent(CORPUS[1])}`);
  await page.getByRole("heading", { name: CORPUS[1] }).waitFor();
  await page.goto(`/?q=${encodeURIComponent(CORPUS[1])}`);
  await page.getByText("No map fits the filter").waitFor();
  await runsNothing();
  house.sql("crm", `CREATE TRIGGER refuse BEFORE INSERT ON accounts BEGIN SELECT RAISE(ABORT, ${text(CORPUS[1])}); END;`);
  house.tandem("map", "resume", "customers", "notes", "--wait", "--reason", CORPUS[0]);
  await page.goto("/maps/customers/errors");
  await page.getByText(`${CORPUS.length} open errors`).waitFor();
  await page.getByText(CORPUS[1]).first().waitFor();
  await shot(page, "hostile-errors");
  await page.getByRole("button", { name: /^Look at error/ }).first().click();
  await page.getByRole("dialog").getByText(CORPUS[1]).first().waitFor();
  await runsNothing();
  await page.goto("/activity");
  await page.getByText(CORPUS[0]).first().waitFor();
  await runsNothing();
});

test("the page is answered with a policy under which nothing inline runs", async () => {
  const answer = await page.goto("/maps/customers");
  const policy = answer.headers()["content-security-policy"];
  assert.match(policy, /default-src 'self'/);
  assert.doesNotMatch(policy, /unsafe|\*|https?:/);
  const ran = await page.evaluate(() => {
    const script = document.createElement("script");
    script.textContent = "window.hacked = 1";
    document.body.append(script);
    return window.hacked;
  });
  assert.equal(ran, undefined);
});
