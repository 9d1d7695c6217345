// Makes the entry points of the package. Under a wrong major of a peer, each fails with what to install.
//
// Node links a whole graph of ES modules before it runs any, so no code of ours could report this. But the error about an
// import that cannot be resolved names the importing file, and the first such import of the entry point comes first. So
// the entry point is a file named after what to install, and it begins with modules that only the right majors have.
//
//     node src/entries.mjs
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))
const { exports, name } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))

const core = { "effect@3": "effect/Either" }
const node = { ...core, "@effect/platform-node@0.108": "@effect/platform-node/NodeKeyValueStore" }
const rpc = { ...core, "@effect/rpc@0.76": "@effect/rpc/RpcMiddleware" }
const sql = { ...core, "@effect/sql@0.52": "@effect/sql/SqlClient" }
const workflow = { ...core, "@effect/workflow@0.19": "@effect/workflow/DurableDeferred" }
const entries = {
  ".": core,
  "./api": core,
  "./testing": core,
  "./emulator": node,
  "./node": node,
  "./gateway": core,
  "./rpc": rpc,
  "./sql": sql,
  "./cluster": node,
  "./workflow": workflow
}

for (const [entry, needed] of Object.entries(entries)) {
  const folder = join(root, "dist", entry)
  const modules = Object.values(needed)
  const install = `run npm install ${Object.keys(needed).join(" ")}`

  const esm = join(folder, `needs-effect-3-${install.replaceAll(" ", "-")}.js`)
  const index = "../".repeat(Object.keys(needed).length - 1) || "./"
  mkdirSync(dirname(esm), { recursive: true })
  writeFileSync(esm, [...modules.map((name) => `import "${name}"`), `export * from "${index}index.js"\n`].join("\n"))

  const cjs = join(root, "dist/cjs", entry, "entry.js")
  writeFileSync(
    cjs,
    `try {
${modules.map((name) => `  require("${name}")\n`).join("")}} catch (cause) {
  throw new Error("${name} needs Effect 3: ${install}", { cause })
}
module.exports = require("./index.js")
`
  )
  const { import: imported, require: required } = exports[entry]
  for (const [file, target] of [[esm, imported.default], [cjs, required.default]]) {
    if (join(root, target) !== file) throw new Error(`package.json: ${entry} is ${target}, not ${file}`)
  }
}
