/**
 * The cost of importing the package: kB for a browser, and CPU for Node, beside `effect` itself.
 *
 *     npm run build && node --import tsx test/bench/imports.ts
 */
import { build } from "esbuild"
import { fileURLToPath } from "node:url"
import { gzipSync } from "node:zlib"
import { child, interleaved } from "./fixtures.js"
import { type Figure, handOver, tableOf } from "./goals.js"

const rounds = 5

/** kB, minified and compressed, that an app adds to its bundle beside `effect` and `@effect/platform`. */
const kilobytes = async (contents: string): Promise<number> => {
  const { outputFiles: [file] } = await build({
    stdin: { contents, resolveDir: fileURLToPath(new URL("../..", import.meta.url)) },
    bundle: true,
    minify: true,
    format: "esm",
    write: false,
    external: ["effect", "@effect/platform"],
    // without the paths that lead to `src`
    tsconfigRaw: {}
  })
  return gzipSync(file!.contents, { level: 9 }).length / 1_000
}

/** Microseconds of CPU that a new process takes to import modules, one after the other. */
const importing = (...modules: ReadonlyArray<string>) => ({
  name: modules.join(", "),
  run: async () => {
    const imports = modules.map((module) => `await import("${module}")`)
    const print = "const { system, user } = process.cpuUsage(before); console.log(system + user)"
    const script = ["const before = process.cpuUsage()", ...imports, print].join("\n")
    return Number(await child("--eval", ["--input-type=module"], [script]))
  }
})

const [effect, http, whole] = (await interleaved(rounds, [
  importing("effect"),
  importing("effect", "@effect/platform/HttpClient"),
  importing("effect", "effect-queue-status")
])).map(({ micros }) => micros) as [number, number, number]

const figures: ReadonlyArray<Figure> = [
  {
    what: "`JobQueue` alone, beside `effect` and `@effect/platform`",
    value: await kilobytes("export { JobQueue } from \"effect-queue-status\""),
    unit: "kB",
    goal: ["≤", 15]
  },
  {
    what: "… `JobQueue`, `JobStream` and `JobWatcher`",
    value: await kilobytes("export { JobQueue, JobStream, JobWatcher } from \"effect-queue-status\""),
    unit: "kB"
  },
  { what: "… the whole entry point", value: await kilobytes("export * from \"effect-queue-status\""), unit: "kB" },
  { what: "CPU of importing `effect`", value: effect / 1_000, unit: "ms" },
  { what: "… and `@effect/platform/HttpClient`, beside that", value: http / effect, unit: "times" },
  {
    what: "CPU of importing `effect` and the package, beside `effect`",
    value: whole / effect,
    unit: "times",
    goal: ["≤", 1.1]
  }
]
console.log(tableOf("importing `effect-queue-status`", figures))
await handOver(figures)
