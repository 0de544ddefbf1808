// The first minutes of somebody who starts the demo and follows its link, which signs in by itself: once, and nobody after.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { open, shot, visitor } from "./browser.mjs";
import { BINARY, until } from "./house.mjs";

/** The demo in a folder of its own, ended with the test. `link` is what it prints. */
class Demo {
  constructor() {
    this.folder = mkdtempSync(join(tmpdir(), "tandem-demo-"));
    const env = { ...process.env, XDG_STATE_HOME: join(this.folder, "state") };
    this.process = spawn(BINARY, ["demo", "--dir", join(this.folder, "here"), "--listen", "127.0.0.1:0"], { env, stdio: ["ignore", "ignore", "pipe"] });
  }

  async begin() {
    this.link = await new Promise((found, failed) => {
      this.process.on("exit", (code) => failed(new Error(`the demo ended with ${code}`)));
      createInterface({ input: this.process.stderr }).on("line", (line) => /http:\S+#enter=\S+/.test(line) && found(line.trim()));
    });
    this.url = new URL(this.link).origin;
  }

  /** How many rows a table of an app has. */
  rows(app, table) {
    const database = join(this.folder, "here", `${app}.db`);
    return Number(execFileSync("sqlite3", ["-batch", "-readonly", database, ".timeout 30000", `SELECT count(*) FROM ${table}`], { encoding: "utf8" }).trim());
  }

  async end() {
    this.process.removeAllListeners("exit");
    if (this.process.exitCode === null) {
      this.process.kill("SIGTERM");
      await once(this.process, "exit");
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}

let demo, browser;

before(async () => {
  demo = new Demo();
  await demo.begin();
  browser = await open();
});

after(async () => {
  await browser?.close();
  await demo?.end();
});

test("a newcomer follows the link once, pauses a map, sees its queue grow, and resumes it", async () => {
  const { page, well } = await visitor(browser, demo);
  await page.goto(demo.link);
  const row = page.getByRole("row").filter({ has: page.getByRole("link", { name: "customers", exact: true }) });
  await row.getByText("Running").waitFor();
  assert.equal(page.url(), `${demo.url}/`, "the code is not left in the address");
  await page.reload();
  await row.getByText("Running").waitFor();

  // Two apps in step, and one sees that something happens.
  const applied = async () => Number(/(\d+) applied/.exec((await row.innerText()).replaceAll("\u202f", ""))?.[1] ?? 0);
  await until("changes are applied", async () => (await applied()) > 0);
  const first = await applied();
  await until("more are applied", async () => (await applied()) > first);
  await shot(page, "demo");

  await page.getByRole("button", { name: "Pause customers" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText("goes along").first().waitFor();
  await shot(page, "demo-pause");
  await dialog.getByRole("button", { name: /^Pause \d maps$/ }).click();
  await row.getByText("Paused", { exact: true }).waitFor();
  const held = demo.rows("crm", "accounts");
  const waits = async () => Number(/(\d+) records?/.exec((await row.innerText()).replaceAll("\u202f", ""))?.[1] ?? 0);
  await until("records are queued", async () => (await waits()) >= 3);
  assert.equal(demo.rows("crm", "accounts"), held, "nothing is written while it is paused");
  await shot(page, "demo-paused");

  await page.getByRole("link", { name: "customers", exact: true }).click();
  await page.getByRole("navigation", { name: "About this map" }).getByRole("link", { name: /^Queued records/ }).click();
  await page.getByText(/^Showing \d+ of \d+$/).waitFor();
  await shot(page, "demo-queue");
  await page.getByRole("button", { name: "Resume" }).click();
  await dialog.getByRole("button", { name: "Resume and catch up" }).click();
  await page.locator(".map-head .pill", { hasText: "Running" }).waitFor();
  await until("the CRM has caught up", () => demo.rows("crm", "accounts") > held);
  await page.getByRole("link", { name: "Tandem: to the maps" }).click();
  await until("all of them run", async () => (await page.locator("tbody .pill.running").count()) === 3);

  // The link is worth nothing to whoever finds it.
  const other = await visitor(browser, demo);
  await other.page.goto(demo.link);
  await other.page.getByLabel("Token", { exact: true }).waitFor();
  well();
  other.well();
});
