// Two SQLite apps, a config, and the real server over them: with a folder, a port and a token of its own, ended with the
// test.

import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";

export const BINARY = resolve(process.env.TANDEM_BIN ?? new URL("../../target/debug/tandem", import.meta.url).pathname);
/** How long anything may take on a slow machine. */
export const PATIENCE = 60_000;

const ERP = `
PRAGMA journal_mode = wal;
CREATE TABLE customers (no TEXT PRIMARY KEY, name TEXT, city TEXT);
CREATE TABLE orders (no INTEGER PRIMARY KEY, customer TEXT NOT NULL REFERENCES customers (no), cents INTEGER);
CREATE TABLE notes (no INTEGER PRIMARY KEY, said TEXT, "<img src=x onerror=window.hacked=1>" TEXT);
CREATE TABLE prices (no INTEGER PRIMARY KEY, cents INTEGER);
`;
const CRM = ERP.replace("TABLE customers", "TABLE accounts").replace("customers (no)", "accounts (no)");

const CONFIG = `
[server]
listen = "127.0.0.1:0"
[apps.erp]
url = "sqlite:erp.db"
[apps.crm]
url = "sqlite:crm.db"
[[maps]]
name = "customers"
deletes = "queue"
limits = { max_queue_bytes = "40kB" }
left = { app = "erp", table = "customers", key = ["no"] }
right = { app = "crm", table = "accounts", key = ["no"] }
columns = [{ left = "no", right = "no" }, { left = "name", right = "name" }, { left = "city", right = "city", sensitive = true }]
[[maps]]
name = "orders"
depends_on = ["customers"]
deletes = "queue"
left = { app = "erp", table = "orders", key = ["no"] }
right = { app = "crm", table = "orders", key = ["no"] }
[[maps]]
name = "notes"
left = { app = "erp", table = "notes", key = ["no"] }
right = { app = "crm", table = "notes", key = ["no"] }
[[maps]]
name = "prices"
direction = "both"
deletes = "queue"
left = { app = "erp", table = "prices", key = ["no"] }
right = { app = "crm", table = "prices", key = ["no"] }
columns = [{ left = "no", right = "no", sensitive = true }, { left = "cents", right = "cents" }]
[[rules]]
name = "crm-down"
maps = ["notes"]
when = { destination_unreachable = "1h" }
then = { action = "pause", resume = "when_healthy" }
`;

export class House {
  /** With `tls`, its server has a certificate for 127.0.0.1, from an authority that a browser does not know. */
  constructor({ tls = false } = {}) {
    this.folder = mkdtempSync(join(tmpdir(), "tandem-console-"));
    this.scheme = tls ? "https" : "http";
    const shown = tls ? `\ntls = { certificate = "file:server.pem", key = "file:server.key" }` : "";
    writeFileSync(join(this.folder, "tandem.toml"), CONFIG.replace(`"127.0.0.1:0"`, `"127.0.0.1:0"${shown}`));
    if (tls) this.#certificate();
    this.sql("erp", ERP);
    this.sql("crm", CRM);
  }

  #certificate() {
    const openssl = (text) => execFileSync("openssl", text.split(" "), { cwd: this.folder, stdio: "ignore" });
    openssl("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.pem");
    openssl("req -newkey rsa:2048 -nodes -subj /CN=tandem -keyout server.key -out server.csr");
    writeFileSync(join(this.folder, "names"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n");
    openssl("x509 -req -in server.csr -CA ca.pem -CAkey ca.key -days 2 -extfile names -out server.pem");
  }

  /** Runs SQL in an app, as its own program would. */
  sql(app, text) {
    const input = `.timeout 30000\nPRAGMA foreign_keys = on;\n${text}`;
    return execFileSync("sqlite3", ["-batch", "-bail", join(this.folder, `${app}.db`)], { input, encoding: "utf8" }).trim();
  }

  /** Runs the command line. */
  tandem(...args) {
    return execFileSync(BINARY, [...args, "--server", this.url], { cwd: this.folder, env: this.#env(), encoding: "utf8" });
  }

  #env() {
    const { TANDEM_SERVER, TANDEM_TOKEN, TANDEM_TOKEN_FILE, TANDEM_CA, ...rest } = process.env;
    const trusted = this.scheme === "https" ? { TANDEM_CA: join(this.folder, "ca.pem") } : {};
    return { ...rest, ...trusted, XDG_STATE_HOME: join(this.folder, "state"), TANDEM_LOG: "info" };
  }

  /** Starts the server, and runs the maps. */
  async serve() {
    await this.start();
    this.tandem("map", "run", "customers", "orders", "notes", "prices", "--no-initial-sync", "--wait");
  }

  /** Starts the server, where it was before if it was. */
  async start() {
    if (this.url) writeFileSync(join(this.folder, "tandem.toml"), CONFIG.replace("127.0.0.1:0", new URL(this.url).host));
    this.server = spawn(BINARY, ["serve", "-c", "tandem.toml", "--log-format", "json"], { cwd: this.folder, env: this.#env(), stdio: ["ignore", "ignore", "pipe"] });
    const said = [];
    this.url = await new Promise((found, failed) => {
      const late = setTimeout(() => failed(new Error(`the server does not listen: ${said.join("\n")}`)), PATIENCE);
      this.server.on("exit", (code) => failed(new Error(`the server ended with ${code}: ${said.join("\n")}`)));
      createInterface({ input: this.server.stderr }).on("line", (line) => {
        said.push(line);
        const event = line.startsWith("{") ? JSON.parse(line) : {};
        if (event.message !== "listening") return;
        clearTimeout(late);
        found(`${this.scheme}://${event.address}`);
      });
    });
    this.token = readFileSync(join(this.folder, "tandem-data", "token"), "utf8").trim();
  }

  /** Ends the server as a crash does. */
  async kill() {
    if (this.server && this.server.exitCode === null && this.server.signalCode === null) {
      const gone = new Promise((ended) => this.server.once("exit", ended));
      this.server.kill("SIGKILL");
      await gone;
    }
  }

  async end() {
    await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Waits until something holds. */
export async function until(what, holds) {
  const deadline = Date.now() + PATIENCE;
  for (;;) {
    const seen = await holds();
    if (seen) return seen;
    if (Date.now() > deadline) throw new Error(`it does not come about: ${what}`);
    await new Promise((next) => setTimeout(next, 50));
  }
}
