// Built for a strict content security policy: no inline script, no inline style, nothing as a data: address.
import { defineConfig } from "vite";

export default defineConfig({
  base: "/",
  esbuild: { jsx: "automatic", legalComments: "none" },
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  server: {
    // `npm run dev` beside a server that runs: its API is reached through the same origin, as in earnest.
    proxy: { "/api": { target: process.env["TANDEM_SERVER"] ?? "http://127.0.0.1:7070" } },
  },
});
