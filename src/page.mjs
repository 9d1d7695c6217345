// Makes a module of the board's page, so that the package and the command have it without reading a file: `npm run page`.
//
//     node src/page.mjs [FILE]    src/gateway/internal/page.ts unless given
import { build } from "esbuild"
import { readFileSync, writeFileSync } from "node:fs"
import { argv } from "node:process"
import { fileURLToPath } from "node:url"

const path = (name) => fileURLToPath(new URL(`gateway/${name}`, import.meta.url))

const { outputFiles: [style, script] } = await build({
  entryPoints: [path("page/board.css"), path("page/board.ts")],
  bundle: true,
  minify: true,
  format: "iife",
  target: "es2022",
  charset: "utf8",
  write: false,
  outdir: path("page"),
  absWorkingDir: path("."),
  logLevel: "warning"
})
const texts = { html: readFileSync(path("page/index.html"), "utf8"), css: style.text, js: script.text }

const exported = ([name, text]) => `/** @internal */\nexport const ${name}: string =\n  ${JSON.stringify(text)}\n`

writeFileSync(
  argv[2] ?? path("internal/page.ts"),
  ["// The page of the board, made from `../page` by `npm run page`.\n", ...Object.entries(texts).map(exported)].join(
    "\n"
  )
)
