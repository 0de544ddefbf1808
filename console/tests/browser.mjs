// A browser without a window, on an empty profile. Whatever a page complains of, or would have run that is not ours,
// fails the test that looked at it.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { PATIENCE } from "./house.mjs";

const SHOTS = process.env.TANDEM_SHOTS ?? fileURLToPath(new URL("../../target/console-shots", import.meta.url));

const ARGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

export async function open() {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ARGS });
  return browser;
}

/** A page of a browser that nobody has signed in with, and what went wrong in it. */
export async function visitor(browser, house, options = {}) {
  const context = await browser.newContext({ baseURL: house.url, viewport: { width: 1280, height: 860 }, ...options });
  context.setDefaultTimeout(PATIENCE / 3);
  const page = await context.newPage();
  const wrong = [];
  page.on("pageerror", (error) => wrong.push(`error: ${error.message}`));
  page.on("dialog", (dialog) => {
    wrong.push(`dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  page.on("console", (message) => {
    // That a request was refused is what some tests are about; the page shows it.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) wrong.push(`console: ${message.text()}`);
  });
  page.on("request", (request) => {
    if (!request.url().startsWith(house.url)) wrong.push(`asked elsewhere: ${request.url()}`);
  });
  const well = () => assert.deepEqual(wrong, []);
  return { page, context, well };
}

/** Signs in as people do. */
export async function signIn(page, token) {
  await page.goto("/");
  await page.getByLabel("Token", { exact: true }).fill(token);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { name: "Maps", level: 1 }).waitFor();
}

export async function shot(page, name, fullPage = false) {
  mkdirSync(SHOTS, { recursive: true });
  await page.screenshot({ path: `${SHOTS}/${name}.png`, fullPage, animations: "disabled" });
}
