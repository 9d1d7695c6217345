/** Shared by the benchmarks: documents, compiled files, and medians. */
import { build } from "esbuild"
import { spawn } from "node:child_process"
import { basename } from "node:path"
import { fileURLToPath } from "node:url"

export const document = {
  request_id: "019ba379-92da-71e4-ac40-d98059fd67c7",
  model: "my-org/video-generator",
  status: "running",
  info: { user_id: "user_123", progress: 0.4, stage: "rendering", note: "x".repeat(200) },
  inputs: { prompt: "a cat at the piano, in the rain, at night", seconds: 8 },
  priority: 1,
  retries: 1,
  created_at: "2026-02-07T10:30:00Z",
  claimed_at: "2026-02-07T10:30:02Z",
  warnings: []
}

export const large = {
  ...document,
  status: "done",
  outputs: Object.fromEntries(Array.from({ length: 2_000 }, (_, i) => [`key${i}`, i]))
}

/**
 * A benchmark compiled to a file for Node alone, on the built package: a loader would add time and memory. It can't
 * import files beside its source.
 */
export const compile = async (source: string): Promise<string> => {
  const outfile = fileURLToPath(new URL(`../../.cache/${basename(source, ".ts")}.mjs`, import.meta.url))
  await build({
    entryPoints: [source],
    outfile,
    bundle: true,
    packages: "external",
    format: "esm",
    platform: "node",
    // without the paths that lead to `src`
    tsconfigRaw: {}
  })
  return outfile
}

export const median = (values: ReadonlyArray<number>): number => {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
}

/** Microseconds of CPU that this process has used. */
export const cpuNow = (): number => {
  const { system, user } = process.cpuUsage()
  return system + user
}

/** Microseconds of this process's CPU a call, when `f` makes `calls` of them. */
export const cpu = async (calls: number, f: () => void | Promise<void>): Promise<number> => {
  const before = cpuNow()
  await f()
  return (cpuNow() - before) / calls
}

/** Bytes of the heap in use, without garbage: needs `--expose-gc`. */
export const heap = (): number => {
  for (let i = 0; i < 4; i++) globalThis.gc!()
  return process.memoryUsage().heapUsed
}

/**
 * The medians of several rounds that run every contender, after one warm-up round. With `--expose-gc`, no contender pays
 * for the garbage of the one before.
 */
export const interleaved = async (
  rounds: number,
  contenders: ReadonlyArray<{ readonly name: string; readonly run: () => Promise<number> }>
): Promise<ReadonlyArray<{ readonly name: string; readonly micros: number }>> => {
  const all = contenders.map(() => [] as Array<number>)
  for (let round = -1; round < rounds; round++) {
    for (const [i, { run }] of contenders.entries()) {
      globalThis.gc?.()
      const micros = await run()
      if (round >= 0) all[i]?.push(micros)
    }
  }
  return contenders.map(({ name }, i) => ({ name, micros: median(all[i] ?? []) }))
}

/** A table in Markdown; the other rows are compared with the first row. */
export const table = (
  title: string,
  unit: string,
  rows: ReadonlyArray<{ readonly name: string; readonly micros: number }>
): string => {
  const [first] = rows
  return [
    `| ${title} | ${unit} | ratio |`,
    "| --- | ---: | ---: |",
    ...rows.map(({ micros, name }) =>
      `| ${name} | ${micros < 10 ? micros.toFixed(2) : micros.toFixed(0)} | ${
        (micros / (first?.micros ?? Number.NaN)).toFixed(1)
      } |`
    ),
    ""
  ].join("\n")
}

/** The output of a row of a benchmark that runs in its own process. */
export const child = (file: string, flags: ReadonlyArray<string>, args: ReadonlyArray<string>): Promise<string> =>
  new Promise((resolve, reject) => {
    const { stdout } = spawn(process.execPath, [...flags, file, ...args], { stdio: ["ignore", "pipe", "inherit"] })
      .on("error", reject)
      .on("close", () => resolve(text))
    let text = ""
    stdout.setEncoding("utf8").on("data", (part: string) => {
      text += part
    })
  })

/** Runs a function for each name, two at a time. */
export const inPairs = async (names: ReadonlyArray<string>, f: (name: string) => Promise<void>): Promise<void> => {
  const left = [...names]
  const work = async () => {
    for (let name = left.shift(); name !== undefined; name = left.shift()) await f(name)
  }
  await Promise.all([work(), work()])
}
