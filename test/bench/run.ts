/**
 * All benchmarks, one after the other, each in its own process, and at the end one table of their goals.
 *
 *     npm run bench
 */
import { fork } from "node:child_process"
import { once } from "node:events"
import { cpus } from "node:os"
import { fileURLToPath } from "node:url"
import { type Figure, tableOf } from "./goals.js"

/** The benchmarks with the flags of Node that they need. */
const benches: { readonly [name: string]: ReadonlyArray<string> } = {
  imports: [],
  decode: [],
  derive: ["--expose-gc", "--max-semi-space-size=256"],
  transport: [],
  watcher: [],
  telemetry: [],
  testkit: [],
  gateway: [],
  cluster: [],
  emulator: [],
  submit: []
}

/** In milliseconds: a benchmark that hangs fails. */
const timeout = 360_000

const secondsSince = (begun: number) => ((performance.now() - begun) / 1_000).toFixed(0)

const run = async (name: string, flags: ReadonlyArray<string>) => {
  let figures: ReadonlyArray<Figure> = []
  const bench = fork(fileURLToPath(new URL(`./${name}.ts`, import.meta.url)), {
    execArgv: [...flags, "--import", "tsx"],
    timeout
  })
    .on("message", (message) => {
      figures = message as ReadonlyArray<Figure>
    })
  // the last message may arrive after the exit
  const [[code]] = await Promise.all([once(bench, "exit"), once(bench, "disconnect")])
  return { figures, hasFailed: code !== 0 }
}

console.log(`Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model.trim()}`)
const begun = performance.now()
let all: ReadonlyArray<Figure> = []
const failed: Array<string> = []
for (const [name, flags] of Object.entries(benches)) {
  console.log(`\n## ${name}\n`)
  const at = performance.now()
  const { figures, hasFailed } = await run(name, flags)
  console.log(`\n${name}: ${secondsSince(at)} s${hasFailed ? ", failed" : ""}`)
  all = [...all, ...figures.filter(({ goal }) => goal !== undefined)]
  if (hasFailed) failed.push(name)
}

console.log(`\n## all, in ${secondsSince(begun)} s\n`)
console.log(tableOf("goal", all))
if (failed.length > 0) {
  console.log(`failed, and without their goals: ${failed.join(", ")}`)
  process.exitCode = 1
}
