// Every export is documented, and every example compiles and runs: `npm run docs`.
//
// docgen writes beside `src`, takes `#private` fields for public ones and skips the examples of classes: it gets a copy,
// where these fields are marked and every such class is preceded by a constant with the same comment.
import { cpSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { capture, link, root, temporary } from "./tools.mjs"

const folder = temporary()
for (const name of ["docgen.json", "node_modules", "package.json", "tsconfig.json"]) {
  link(join(root, name), join(folder, name))
}
cpSync(join(root, "src"), join(folder, "src"), { recursive: true })

let written = 0
for (const name of readdirSync(join(folder, "src"), { recursive: true })) {
  if (!name.endsWith(".ts") || /(^|\/)(internal|cli)\//.test(name)) continue
  const file = join(folder, "src", name)
  const text = readFileSync(file, "utf8")
  written += text.match(/^\s*\* @example\b/gm)?.length ?? 0
  const documented = /(\/\*\*(?:(?!\*\/)[^])*\* @example(?:(?!\*\/)[^])*\*\/\n)export (?:abstract )?class (\w+)/g
  writeFileSync(
    file,
    text
      .replace(documented, (found, comment, name) => `${comment}export const exampleOf${name} = 0\n${found}`)
      .replace(/^ +(?=(?:readonly )?#\w+\??[:; ])/gm, "$&/** @internal */ ")
  )
}

const { status, stdout } = capture("docgen", [], folder)
console.log(stdout)
const checked = Number(/(\d+) example\(s\) found/.exec(stdout)?.[1] ?? 0)
if (written !== checked) {
  console.log(`${written} examples are written, but ${checked} were checked (none in index.ts)`)
}
if (status !== 0 || written !== checked) process.exitCode = 1
