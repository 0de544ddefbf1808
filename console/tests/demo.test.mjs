// The demo prints a link that signs in by itself: once, and for nobody after.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { open, shot, visitor } from "./browser.mjs";
import { BINARY } from "./house.mjs";

test("the demo's link leads into the console once, and leaves nothing in the address", async () => {
  const folder = mkdtempSync(join(tmpdir(), "tandem-demo-"));
  const env = { ...process.env, XDG_STATE_HOME: join(folder, "state") };
  const demo = spawn(BINARY, ["demo", "--dir", join(folder, "here"), "--listen", "127.0.0.1:0"], { env, stdio: ["ignore", "ignore", "pipe"] });
  const browser = await open();
  try {
    const link = await new Promise((found, failed) => {
      demo.on("exit", (code) => failed(new Error(`the demo ended with ${code}`)));
      createInterface({ input: demo.stderr }).on("line", (line) => /http:\S+#enter=\S+/.test(line) && found(line.trim()));
    });
    const house = { url: new URL(link).origin };
    const first = await visitor(browser, house);
    await first.page.goto(link);
    await first.page.getByRole("link", { name: "customers", exact: true }).waitFor();
    assert.equal(first.page.url(), `${house.url}/`);
    await first.page.reload();
    await first.page.getByRole("link", { name: "customers", exact: true }).waitFor();
    await shot(first.page, "demo");
    const second = await visitor(browser, house);
    await second.page.goto(link);
    await second.page.getByLabel("Token", { exact: true }).waitFor();
    first.well();
    second.well();
  } finally {
    await browser.close();
    demo.removeAllListeners("exit");
    if (demo.exitCode === null) {
      demo.kill("SIGTERM");
      await once(demo, "exit");
    }
    rmSync(folder, { recursive: true, force: true });
  }
});
