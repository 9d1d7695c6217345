// Makes a module of the board's page, so that the package and the command have it without reading a file: `npm run page`.
//
//     node src/page.mjs [FILE]    src/gateway/internal/page.ts unless given
import { build } from "esbuild"
import { readFileSync, writeFileSync } from "node:fs"
import { argv } from "node:process"
import { fileURLToPath } from "node:url"

const path = (name) => fileURLToPath(new URL(`gateway/${name}`, import.meta.url))
const read = (name) => readFileSync(path(`page/${name}`), "utf8")

const { outputFiles: [script] } = await build({
  entryPoints: [path("page/board.ts")],
  bundle: true,
  format: "iife",
  target: "es2022",
  charset: "utf8",
  write: false,
  absWorkingDir: path("."),
  logLevel: "warning"
})
const texts = { html: read("index.html"), css: read("board.css"), js: script.text }

// a line of the text a line, so that a change of it can be read
const exported = ([name, text]) =>
  `/** @internal */\nexport const ${name}: string = [\n${
    text.split("\n").map((line) => `  ${JSON.stringify(line)}`).join(",\n")
  }\n].join("\\n")\n`

writeFileSync(
  argv[2] ?? path("internal/page.ts"),
  ["// The page of the board, made from `../page` by `npm run page`.\n", ...Object.entries(texts).map(exported)].join(
    "\n"
  )
)
