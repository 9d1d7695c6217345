// Checks every file, and the code in pages and doc comments, with TypeScript and with the Effect rules of tsconfig.json:
// `npm run check`.
//
// The compiler must also find the mistakes of a canary: rules that no longer apply would pass everything.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { dirname, join, relative } from "node:path"
import { compiler } from "../../src/compiler.mjs"
import { idOf, snippetsOf } from "./snippets.ts"
import { capture, link, modules, root, temporary } from "./tools.mjs"

const folder = temporary()
link(modules, join(folder, "node_modules"))
const write = (name, text) => {
  mkdirSync(dirname(join(folder, name)), { recursive: true })
  writeFileSync(join(folder, name), text)
}

const canary = "canary.ts"
write(
  canary,
  `import * as Effect from "effect/Effect"
export const wrong: number = Effect.gen(function*() { yield* Effect.void; return Date.now() })\n`
)

const filesIn = (folder, extension) =>
  readdirSync(join(root, folder), { recursive: true })
    .filter((name) => name.endsWith(extension))
    .map((name) => join(folder, name))
const read = (name) => readFileSync(join(root, name), "utf8")

// The TypeScript blocks of pages and doc comments are modules that keep their line numbers. A block that is a whole file
// is checked as that file.
const examples = new Set(filesIn("docs/examples", ".ts").map(read))
const snippets = ["README.md", ...filesIn("docs", ".md"), ...filesIn("src", ".ts")].flatMap((name) =>
  snippetsOf(name, read(name)).flatMap(({ line, text }, i) =>
    examples.has(text) ? [] : [{ name: idOf(name, i + 1), text: "\n".repeat(line - 1) + text }]
  )
)
for (const { name, text } of snippets) write(name, text)

const { files: listed } = JSON.parse(capture(compiler, ["-p", root, "--showConfig"]).stdout)
const own = [canary, ...snippets.map(({ name }) => name)].map((name) => join(folder, name))
const files = [...listed.map((name) => join(root, name)), ...own]
write(
  "tsconfig.json",
  JSON.stringify({
    extends: join(root, "tsconfig.json"),
    files,
    include: [],
    // an import of a snippet is relative to its page
    compilerOptions: { rootDirs: [root, folder], incremental: false, listFiles: true }
  })
)
const { stdout } = capture(compiler, ["-p", folder, "--pretty", "false"])

// each begins with its place; what follows it, up to the next one, belongs to it
const [, ...found] = `\n${stdout.trimEnd()}`.split(/\n(?=[^\n(]+\(\d+,\d+\): |\/|bundled:|error )/)
const isOf = (name) => (line) => line.startsWith(relative(root, join(folder, name)))
const isOfSnippet = isOf("")
// a declaration in a snippet may be for the reader only, and its code without the layers of a program
const isForReader = (line) => isOfSnippet(line) && /TS(6133|6192|6196|6198):| effect\(\w+\)$/.test(line)

const isListed = (line) => line.startsWith("/") || line.startsWith("bundled:")
const checked = new Set(found.filter(isListed))
const mistakes = found.filter((line) => !isListed(line))
const problems = mistakes.filter((line) => !isOf(canary)(line) && !isForReader(line))
for (const rule of ["TS2322", "effect(globalDateInEffect)"]) {
  if (!mistakes.some((line) => isOf(canary)(line) && line.includes(rule))) {
    problems.push(`The canary was not caught: ${rule} does not see our imports`)
  }
}
const missing = files.filter((file) => !checked.has(file))
if (missing.length > 0) problems.push(`Not checked: ${missing.join(", ")}`)
for (const kind of [".md.1.ts", ".ts.1.ts"]) {
  if (!snippets.some(({ name }) => name.endsWith(kind))) problems.push(`There is no snippet like ${kind}`)
}

console.log(
  [...problems, `${files.length} files, ${snippets.length} of them snippets, ${problems.length} problems`].join("\n")
)
if (problems.length > 0) process.exitCode = 1
