/**
 * Builds the page into the Python package and the core for Node into dist/.
 *
 *   npm ci && npm run build
 */
import { createHash } from "node:crypto";
import fs from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";

const here = path.dirname(fileURLToPath(import.meta.url));
const page = path.join(here, "..", "src", "xpert", "runtime", "page");
const fresh = `${page}.new`;
const common = { absWorkingDir: here, bundle: true, format: "esm", target: "es2022", logLevel: "warning" };

await build({
  ...common,
  platform: "node",
  entryPoints: ["src/node/cli.ts"],
  outfile: "dist/cli.mjs",
  alias: { "onnxruntime-web/wasm": "onnxruntime-web" },
  external: ["onnxruntime-web"],
});
await fs.rm(fresh, { recursive: true, force: true });
// What was checked with another page, or another version of what it is made of, is checked again.
const source = createHash("sha256").update(await fs.readFile(path.join(here, "package-lock.json")));
for (const folder of ["src/core", "src/page"]) {
  for (const name of (await fs.readdir(path.join(here, folder))).sort()) {
    source.update(name).update(await fs.readFile(path.join(here, folder, name)));
  }
}
await build({
  ...common,
  platform: "browser",
  conditions: ["onnxruntime-web-use-extern-wasm"],
  entryPoints: ["src/page/main.ts", "src/page/worker.ts", "src/page/graphics.ts"],
  splitting: true,
  chunkNames: "shared-[hash]",
  outdir: fresh,
  minify: true,
  legalComments: "linked",
  define: { BUILD: JSON.stringify(source.digest("hex").slice(0, 16)) },
});
await fs.cp(path.join(here, "static"), fresh, { recursive: true });
const GRAPHICS = ["ort-wasm-simd-threaded.asyncify.mjs", "ort-wasm-simd-threaded.asyncify.wasm"];
for (const name of ["ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm", ...GRAPHICS]) {
  await fs.copyFile(path.join(here, "node_modules", "onnxruntime-web", "dist", name), path.join(fresh, name));
}

// The service worker keeps exactly these files, under a name that changes with their content; those for the graphics
// processor, which are larger than all the rest, only where one computed.
const graphics = ["graphics.js", ...GRAPHICS];
const names = (await fs.readdir(fresh)).sort();
const digest = createHash("sha256");
for (const name of names) digest.update(name).update(await fs.readFile(path.join(fresh, name)));
await build({
  ...common,
  entryPoints: ["src/page/offline.ts"],
  outdir: fresh,
  minify: true,
  define: {
    VERSION: JSON.stringify(digest.digest("hex").slice(0, 16)),
    FILES: JSON.stringify(names.filter((name) => !graphics.includes(name))),
    GRAPHICS: JSON.stringify(graphics),
  },
});
await fs.rm(page, { recursive: true, force: true });
await fs.rename(fresh, page);
