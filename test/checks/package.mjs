// The package as a user gets it: packed, judged, and imported where only its peers are installed: `npm run package`, which
// builds it first.
import assert from "node:assert"
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { basename, dirname, join } from "node:path"
import ts from "typescript"
import { followReadme } from "./readme.mjs"
import { link, manifest, modules, run, temporary } from "./tools.mjs"

const folder = temporary()
run("npm", ["pack", "--ignore-scripts", "--no-update-notifier", "--pack-destination", folder])
const tarball = join(folder, readdirSync(folder).find((name) => name.endsWith(".tgz")))
run("publint", ["run", tarball, "--strict"])
run("attw", [tarball])
run("tar", ["-xzf", tarball, "-C", folder])

// Every page is packed with the files that it links to.
const packed = join(folder, "package")
const pages = readdirSync(packed, { recursive: true }).filter((name) => /^([A-Z]+|docs\/.*)\.md$/.test(name))
assert(pages.includes("README.md") && pages.includes("docs/compatibility.md"))
for (const page of pages) {
  for (const [, target] of readFileSync(join(packed, page), "utf8").matchAll(/\]\((?!\w+:)([^)#]+)/g)) {
    assert(existsSync(join(packed, dirname(page), target)), `${page} links to ${target}, which is not packed`)
  }
}

const user = join(folder, "user")
for (const name of Object.keys(manifest.peerDependencies)) {
  link(join(modules, name), join(user, "node_modules", name))
}
cpSync(packed, join(user, "node_modules", manifest.name), { recursive: true })
const entries = Object.keys(manifest.exports)
  .filter((entry) => manifest.exports[entry]?.import !== undefined)
  .map((entry) => manifest.name + entry.slice(1))

writeFileSync(
  join(user, "smoke.mjs"),
  `import assert from "node:assert"
for (const name of ${JSON.stringify(entries)}) {
  assert.notStrictEqual(Object.keys(await import(name)).length, 0, name + " exports nothing")
}
await assert.rejects(import("${manifest.name}/internal/queueModel"), { code: "ERR_PACKAGE_PATH_NOT_EXPORTED" })
`
)
run(process.execPath, ["smoke.mjs"], user)

// With a `require` that accepts only CommonJS, as in Jest, and with the `effect` of such a program.
const commonJsAlone = ["--no-experimental-require-module"]
  .filter((flag) => process.allowedNodeEnvironmentFlags.has(flag.replace("--no-", "--")))
writeFileSync(
  join(user, "smoke.cjs"),
  `const assert = require("node:assert")
for (const name of ${JSON.stringify(entries)}) {
  assert.notStrictEqual(Object.keys(require(name)).length, 0, name + " exports nothing")
}
const { Effect } = require("effect")
const { JobQueue, JobStream } = require("${manifest.name}")
const { TestJobQueue, VirtualTime, Worker } = require("${manifest.name}/testing")
const workers = { script: Worker.always(Worker.finish("1 minute", { answer: 42 })) }
const program = JobQueue.submit({ model: "m", payload: {} }).pipe(
  Effect.flatMap((job) => JobStream.result(job)),
  VirtualTime.run,
  Effect.provide(TestJobQueue.layer({ workers }))
)
Effect.runPromise(program).then((outputs) => assert.deepStrictEqual(outputs, { answer: 42 }))
`
)
run(process.execPath, [...commonJsAlone, "smoke.cjs"], user)

// The types of a cluster need those of Node.
const onNode = entries.filter((name) => /\/(cluster|workflow)$/.test(name))
link(join(modules, "@types/node"), join(user, "node_modules/@types/node"))
for (
  const [name, entriesOf, types] of [
    ["types", entries.filter((entry) => !onNode.includes(entry)), []],
    ["typesOnNode", onNode, ["node"]]
  ]
) {
  const files = [`${name}.mts`, `${name}.cts`].map((file) => join(user, file))
  for (const file of files) {
    writeFileSync(file, entriesOf.map((entry, i) => `export * as _${i} from "${entry}"\n`).join(""))
  }
  const program = ts.createProgram(files, {
    module: ts.ModuleKind.NodeNext,
    target: ts.ScriptTarget.ES2022,
    strict: true,
    exactOptionalPropertyTypes: true,
    skipLibCheck: false,
    noEmit: true,
    typeRoots: [join(user, "node_modules/@types")],
    types
  })
  // as `tsc` does, but for the files of the peers, which are links to another folder
  const ours = program.getSourceFiles().filter(({ fileName }) => fileName.startsWith(folder))
  assert(ours.length > files.length, "the types of the package were not found")
  const problems = [
    ...program.getOptionsDiagnostics(),
    ...program.getGlobalDiagnostics(),
    ...ours.flatMap((file) => [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)])
  ]
  assert.strictEqual(
    ts.formatDiagnostics(problems, { ...ts.sys, getCanonicalFileName: (path) => path, getNewLine: () => "\n" }),
    ""
  )
}

// Effect 4 in place of 3: the error says what to install. The entry point for browsers does not need Effect.
const wrong = join(folder, "wrong")
mkdirSync(wrong)
writeFileSync(join(wrong, "package.json"), JSON.stringify({ private: true }))
run("npm", ["install", "--no-audit", "--no-fund", "--no-update-notifier", "--prefer-offline", "effect@4"], wrong)
cpSync(packed, join(wrong, "node_modules", manifest.name), { recursive: true })
writeFileSync(
  join(wrong, "smoke.cjs"),
  `const assert = require("node:assert")
const check = async (name) => {
  await assert.rejects(import(name), /needs-effect-3-run-npm-install-effect@3/)
  assert.throws(() => require(name), /needs Effect 3: run npm install effect@3/)
}
Promise.all(${JSON.stringify(entries.filter((entry) => entry !== `${manifest.name}/browser`))}.map(check))
`
)
run(process.execPath, ["smoke.cjs"], wrong)

// The command includes all its dependencies.
const [command] = Object.values(manifest.bin)
const alone = join(folder, "command")
cpSync(join(packed, dirname(command)), alone, { recursive: true })
writeFileSync(join(alone, "package.json"), JSON.stringify({ type: "module" }))
run(process.execPath, [basename(command), "demo"], alone)

await followReadme(tarball, folder)
