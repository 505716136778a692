import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";
import { answerAsStub } from "./tests/stub.ts";

/** Where the server finds the page; WEB_OUT names another folder. */
const STATIC = fileURLToPath(new URL("../keras_emo/serve/static", import.meta.url));

export default defineConfig({
  base: "./",
  plugins: [{ name: "stub", apply: "serve", configureServer: answerAsStub }],
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: process.env.WEB_OUT ?? STATIC,
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    license: { fileName: "licenses.txt" },
  },
  test: { include: ["tests/**/*.test.ts"] },
});
