// The package as a user gets it: packed, judged, and imported where only its peers are installed: `npm run package`, which
// builds it first.
import { cpSync, mkdirSync, readdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { link, manifest, modules, run, temporary } from "./tools.mjs"

const folder = temporary()
run("npm", ["pack", "--ignore-scripts", "--no-update-notifier", "--pack-destination", folder])
const tarball = join(folder, readdirSync(folder).find((name) => name.endsWith(".tgz")))
run("publint", ["run", tarball, "--strict"])
run("attw", [tarball, "--profile", "node16"])
run("tar", ["-xzf", tarball, "-C", folder])

const user = join(folder, "user")
for (const name of Object.keys(manifest.peerDependencies)) {
  link(join(modules, name), join(user, "node_modules", name))
}
cpSync(join(folder, "package"), join(user, "node_modules", manifest.name), { recursive: true })
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

// Where `require` takes CommonJS alone, as in Jest, and with the `effect` that a program there has.
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

const types = entries.map((entry, i) => `export * as _${i} from "${entry}"\n`).join("")
const files = ["types.mts", "types.cts"]
for (const file of files) writeFileSync(join(user, file), types)
const compilerOptions = {
  module: "NodeNext",
  target: "ES2022",
  strict: true,
  exactOptionalPropertyTypes: true,
  skipLibCheck: false,
  noEmit: true,
  types: []
}
writeFileSync(join(user, "tsconfig.json"), JSON.stringify({ compilerOptions, files }))
run("tsc", ["-p", "."], user)

// The command has all that it needs with it.
const [command] = Object.values(manifest.bin)
const alone = join(folder, "command")
mkdirSync(alone)
cpSync(join(folder, "package", command), join(alone, "command.mjs"))
run(process.execPath, ["command.mjs", "--version"], alone)
