import { createHash } from "node:crypto";
import { appendFileSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { defineConfig, type Plugin } from "vite";

/** Where export.py finds the page that answers in the browser; LOCAL_OUT names another folder. */
const PAGE = fileURLToPath(new URL("../keras_emo/export/page", import.meta.url));
const MODULES = fileURLToPath(new URL("node_modules", import.meta.url));
const WASM = "ort-wasm-simd-threaded.wasm";
const MIT = `Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
associated documentation files (the "Software"), to deal in the Software without restriction,
including without limitation the rights to use, copy, modify, merge, publish, distribute,
sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or
substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT
NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES
OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN
CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
`;

function readVersion(name: string): string {
  return (JSON.parse(readFileSync(`${MODULES}/${name}/package.json`, "utf-8")) as { version: string }).version;
}

/** Leaves out onnxruntime's wasm, which export.py adds, and says which one the page was built for. */
function nameRuntime(): Plugin {
  return {
    name: "runtime",
    apply: "build",
    generateBundle(_, bundle) {
      for (const name of Object.keys(bundle)) if (name.endsWith(".wasm")) delete bundle[name];
      const data = readFileSync(`${MODULES}/onnxruntime-web/dist/${WASM}`);
      const sha256 = createHash("sha256").update(data).digest("hex");
      const runtime = { version: readVersion("onnxruntime-web"), file: WASM, sha256, bytes: data.length };
      this.emitFile({ type: "asset", fileName: "runtime.json", source: `${JSON.stringify(runtime, null, 1)}\n` });
    },
    // the list of the build is of the page alone, without its worker
    writeBundle({ dir }) {
      const [ort, demuxer] = [readVersion("onnxruntime-web"), readVersion("mediabunny")];
      const texts = [
        `## onnxruntime-web - ${ort} (MIT)\n\nCopyright (c) Microsoft Corporation\n\n${MIT}`,
        `## mediabunny - ${demuxer} (MPL-2.0)\n\nUnchanged; its source is at https://www.npmjs.com/package/mediabunny/v/${demuxer}\n\n` +
          readFileSync(`${MODULES}/mediabunny/LICENSE`, "utf-8"),
      ];
      appendFileSync(`${dir}/licenses.txt`, `\n${texts.join("\n")}`);
    },
  };
}

export default defineConfig({
  root: fileURLToPath(new URL("local", import.meta.url)),
  publicDir: fileURLToPath(new URL("public", import.meta.url)),
  base: "./",
  plugins: [nameRuntime()],
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  worker: { format: "es" },
  build: {
    outDir: process.env.LOCAL_OUT ?? PAGE,
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    license: { fileName: "licenses.txt" },
  },
});
