// The one runner behind `npm test`: every check of the project, two at a time.
//
//     node test/checks/run.mjs               everything
//     node test/checks/run.mjs lint types    only these steps
//
// One line a step, the whole output of a step that failed, and the totals as the last line.
import { spawn } from "node:child_process"
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { delimiter, dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("../..", import.meta.url))
const modules = join(root, "node_modules")
const temp = realpathSync(mkdtempSync(join(tmpdir(), "effect-queue-status-")))
const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))
const stepLimit = 60 * 60_000 // for what hangs

const env = {
  ...process.env,
  PATH: join(modules, ".bin") + delimiter + process.env.PATH,
  NO_COLOR: "1",
  FORCE_COLOR: undefined,
  TMPDIR: temp // what the tools leave behind goes with it
}

// --- processes: each leads a group of its own, so that what it started dies with it

const groups = new Set()

const kill = (pid) => {
  if (pid === undefined) return // never started
  try {
    process.kill(-pid, "SIGKILL")
  } catch {
    // gone already
  }
}

process.on("exit", () => {
  groups.forEach(kill)
  rmSync(temp, { recursive: true, force: true, maxRetries: 3 })
})
for (const [signal, code] of [["SIGHUP", 129], ["SIGINT", 130], ["SIGTERM", 143]]) {
  process.on(signal, () => process.exit(code))
}

const exec = (command, args, cwd = root) =>
  new Promise((resolve) => {
    const child = spawn(command, args, { cwd, env, detached: true, stdio: ["ignore", "pipe", "pipe"] })
    let output = ""
    let stdout = ""
    child.stdout.setEncoding("utf8").on("data", (text) => {
      output += text
      stdout += text
    })
    child.stderr.setEncoding("utf8").on("data", (text) => {
      output += text
    })
    groups.add(child.pid)
    const timer = setTimeout(() => {
      output += `\n${command}: stopped after ${stepLimit / 60_000} minutes\n`
      kill(child.pid)
    }, stepLimit)
    const finish = (code) => {
      clearTimeout(timer)
      groups.delete(child.pid)
      resolve({ ok: code === 0, output, stdout })
    }
    child.on("exit", () => kill(child.pid)) // what it left running would hold the pipes open
    child.on("close", finish)
    child.on("error", (error) => {
      output += `${command}: ${error.message}\n`
      finish(1)
    })
  })

/** Commands one after the other, up to the first that fails. */
const sequence = async (...commands) => {
  let output = ""
  for (const command of commands) {
    const result = await exec(...command)
    output += `$ ${command[0]} ${command[1].join(" ")}\n${result.output}`
    if (!result.ok) return { ok: false, output }
  }
  return { ok: true, output }
}

const folder = (name) => {
  const path = join(temp, name)
  mkdirSync(path, { recursive: true })
  return path
}

const link = (target, path) => {
  mkdirSync(dirname(path), { recursive: true })
  symlinkSync(target, path, "junction")
}

// --- steps: each gives { ok, output } and counts as one, or gives its own { passed, failed, skipped }

/** Trusted only if it also finds the mistake of a canary: rules that no longer apply would pass everything. */
const diagnostics = async () => {
  const canary = join(folder("canary"), "canary.ts")
  link(modules, join(dirname(canary), "node_modules"))
  writeFileSync(
    join(dirname(canary), "tsconfig.json"),
    JSON.stringify({ extends: join(root, "tsconfig.json"), include: ["*.ts"] })
  )
  writeFileSync(
    canary,
    `import * as Effect from "effect/Effect"
export const wrong = Effect.gen(function*() { yield* Effect.void; return Date.now() })\n`
  )
  const { output, stdout } = await exec("effect-language-service", [
    ...["diagnostics", "--project", "tsconfig.json", "--file", canary],
    ...["--strict", "--format", "json"]
  ])
  if (!stdout.includes("\"summary\"")) return { ok: false, output }
  const report = JSON.parse(stdout)
  const problems = report.diagnostics
    .filter(({ file, severity }) => file !== canary && severity !== "message")
    .map((_) => `${_.file.replace(root, "")}:${_.line}:${_.column} ${_.name}: ${_.message}`)
  if (!report.diagnostics.some(({ file, name }) => file === canary && name === "globalDateInEffect")) {
    problems.push("The canary was not caught: the rules do not see our imports (moduleResolution in tsconfig.json?)")
  }
  const { filesChecked, totalFiles } = report.summary
  if (filesChecked !== totalFiles) problems.push(`Only ${filesChecked} of ${totalFiles} files were checked`)
  return { ok: problems.length === 0, output: problems.join("\n") }
}

const tests = async () => {
  const file = join(temp, "vitest.json")
  const { ok, output } = await exec("vitest", [
    ...["run", "--reporter=default", "--reporter=json", `--outputFile.json=${file}`]
  ])
  process.stdout.write(output)
  if (!existsSync(file)) return { passed: 0, failed: 1, output: "" }
  const report = JSON.parse(readFileSync(file, "utf8"))
  const broken = report.testResults.filter(({ assertionResults, status }) =>
    status === "failed" && !assertionResults.some((_) => _.status === "failed")
  )
  const passed = report.numPassedTests
  const failed = report.numFailedTests + broken.length
  return {
    passed,
    failed: failed === 0 && (!ok || passed === 0) ? 1 : failed,
    skipped: report.numPendingTests + report.numTodoTests,
    output: ""
  }
}

const typeTests = async () => {
  const { ok, output } = await exec("tstyche", [])
  const counts = /^Assertions:.*$/m.exec(output)?.[0] ?? ""
  const count = (word) => Number(new RegExp(`(\\d+) ${word}`).exec(counts)?.[1] ?? 0)
  const passed = count("passed")
  const failed = count("failed")
  return {
    passed,
    failed: failed === 0 && (!ok || passed === 0) ? 1 : failed,
    skipped: count("skipped") + count("todo"),
    output
  }
}

/**
 * docgen writes beside `src`, takes `#private` fields for public ones and skips the examples of classes: it gets a copy,
 * where these fields are marked and every such class is preceded by a constant with the same comment.
 */
const docs = async () => {
  const dir = folder("docs")
  for (const name of ["docgen.json", "node_modules", "package.json", "tsconfig.json"]) {
    link(join(root, name), join(dir, name))
  }
  cpSync(join(root, "src"), join(dir, "src"), { recursive: true })
  let written = 0
  for (const name of readdirSync(join(dir, "src"), { recursive: true })) {
    if (!name.endsWith(".ts") || /(^|\/)(internal|cli)\//.test(name)) continue
    const file = join(dir, "src", name)
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
  const { ok, output } = await exec("docgen", [], dir)
  const checked = Number(/(\d+) example\(s\) found/.exec(output)?.[1] ?? 0)
  if (!ok || written === checked) return { ok, output }
  return {
    ok: false,
    output: `${output}${written} examples are written, but ${checked} were checked (none in index.ts)`
  }
}

const consumerOptions = {
  module: "NodeNext",
  target: "ES2022",
  strict: true,
  exactOptionalPropertyTypes: true,
  skipLibCheck: false,
  noEmit: true,
  types: []
}

const smoke = (entries) =>
  `import assert from "node:assert"
for (const name of ${JSON.stringify(entries)}) {
  assert.notStrictEqual(Object.keys(await import(name)).length, 0, name + " exports nothing")
}
await assert.rejects(import("${manifest.name}/internal/queueModel"), { code: "ERR_PACKAGE_PATH_NOT_EXPORTED" })
`

// Where `require` takes CommonJS alone, as in Jest, and with the `effect` that a program there has.
const smokeOfCommonJs = (entries) =>
  `const assert = require("node:assert")
for (const name of ${JSON.stringify(entries)}) {
  assert.notStrictEqual(Object.keys(require(name)).length, 0, name + " exports nothing")
}
const { Effect } = require("effect")
const { JobQueue, JobStream } = require("${manifest.name}")
const { TestJobQueue, Worker } = require("${manifest.name}/testing")
const workers = { script: Worker.always(Worker.finish("1 minute", { answer: 42 })) }
const program = JobQueue.submit({ model: "m", payload: {} }).pipe(
  Effect.flatMap((job) => JobStream.result(job)),
  TestJobQueue.runUntilDone,
  Effect.provide(TestJobQueue.layer({ workers }))
)
Effect.runPromise(program).then((outputs) => assert.deepStrictEqual(outputs, { answer: 42 }))
`

const commonJsAlone = ["--no-experimental-require-module"]
  .filter((flag) => process.allowedNodeEnvironmentFlags.has(flag.replace("--no-", "--")))

/** The package as a user gets it: built, packed, judged, and imported where only its peers are installed. */
const package_ = async () => {
  const dir = folder("package")
  rmSync(join(root, "dist"), { recursive: true, force: true })
  const built = await sequence(
    ["tsc", ["-p", "tsconfig.build.json"]],
    [process.execPath, [join("src", "commonjs.mjs")]],
    [process.execPath, [join("src", "cli", "bundle.mjs")]],
    ["npm", ["pack", "--ignore-scripts", "--no-update-notifier", "--pack-destination", dir]]
  )
  if (!built.ok) return built
  const tarball = join(dir, readdirSync(dir).find((name) => name.endsWith(".tgz")))
  const judged = await sequence(
    ["publint", ["run", tarball, "--strict"]],
    ["attw", [tarball, "--profile", "node16"]],
    ["tar", ["-xzf", tarball, "-C", dir]]
  )
  if (!judged.ok) return { ok: false, output: built.output + judged.output }
  const user = folder("user")
  for (const name of Object.keys(manifest.peerDependencies)) {
    link(join(modules, name), join(user, "node_modules", name))
  }
  cpSync(join(dir, "package"), join(user, "node_modules", manifest.name), { recursive: true })
  const entries = Object.keys(manifest.exports)
    .filter((entry) => manifest.exports[entry]?.import !== undefined)
    .map((entry) => manifest.name + entry.slice(1))
  writeFileSync(join(user, "smoke.mjs"), smoke(entries))
  writeFileSync(join(user, "smoke.cjs"), smokeOfCommonJs(entries))
  const types = entries.map((entry, i) => `export * as _${i} from "${entry}"\n`).join("")
  const files = ["types.mts", "types.cts"]
  for (const file of files) writeFileSync(join(user, file), types)
  writeFileSync(join(user, "tsconfig.json"), JSON.stringify({ compilerOptions: consumerOptions, files }))
  const [command] = Object.values(manifest.bin)
  const alone = folder("command")
  cpSync(join(dir, "package", command), join(alone, "command.mjs"))
  const used = await sequence(
    [process.execPath, ["smoke.mjs"], user],
    [process.execPath, [...commonJsAlone, "smoke.cjs"], user],
    ["tsc", ["-p", "."], user],
    // it has all that it needs with it
    [process.execPath, ["command.mjs", "--version"], alone]
  )
  return { ok: used.ok, output: built.output + judged.output + used.output }
}

const steps = {
  types: () => exec("tsc", ["-p", "tsconfig.json"]),
  lint: () => sequence(["eslint", ["."]], ["depcruise", ["--config", join("test", "checks", "rooms.mjs"), "src"]]),
  diagnostics,
  docs,
  package: package_,
  "type-tests": typeTests,
  tests // last and alone: it keeps every core busy, and tests on sockets look at the real clock
}

// --- run

const total = { passed: 0, failed: 0, skipped: 0 }

const run = async (name) => {
  const started = Date.now()
  const result = await Promise.resolve().then(steps[name]).catch((error) => ({ ok: false, output: error.stack }))
  const { failed = result.ok ? 0 : 1, output, passed = result.ok ? 1 : 0, skipped = 0 } = result
  total.passed += passed
  total.failed += failed
  total.skipped += skipped
  const seconds = ((Date.now() - started) / 1000).toFixed(1).padStart(6)
  console.log(`${failed > 0 ? "FAIL" : "ok  "} ${name.padEnd(12)} ${seconds} s`)
  if (failed > 0 && output !== "") console.log(output.trimEnd())
}

const names = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(steps)
const unknown = names.filter((name) => !(name in steps))
if (unknown.length > 0) {
  console.error(`No such step: ${unknown.join(", ")}. Steps: ${Object.keys(steps).join(", ")}`)
  process.exit(2)
}

const queue = names.filter((name) => name !== "tests")
const worker = async () => {
  for (let name = queue.shift(); name !== undefined; name = queue.shift()) await run(name)
}
await Promise.all([worker(), worker()])
if (names.includes("tests")) await run("tests")

const skipped = total.skipped > 0 ? `, ${total.skipped} skipped` : ""
console.log(`${total.passed} passed, ${total.failed} failed${skipped}`)
process.exitCode = total.failed > 0 ? 1 : 0
