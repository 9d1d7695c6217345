/** `npm run bench`: the time and memory that it takes to derive transitions. */
import { DateTime, Either, Option, Schema } from "effect"
import { Job, Transition } from "effect-queue-status"
import { cpu, document, interleaved, table } from "./fixtures.js"

const decode = Schema.decodeUnknownSync(Job.JobStatus)
const observedAt = DateTime.unsafeMake("2026-02-07T10:30:10Z")
const options = { observedAt }
const derive = (known: Option.Option<Transition.Cursor>, status: Job.JobStatus) =>
  Either.getOrThrow(Transition.derive(known, status, options))

const pending = decode({ ...document, status: "pending", retries: 0, info: { user_id: "user_123" } })
const running = decode(document)
// every poll returns new objects, even if they are equal
const runningAgain = decode(JSON.parse(JSON.stringify(document)))
const further = decode({ ...document, info: { ...document.info, progress: 0.5 } })
const done = decode({ ...document, status: "done", done_at: "2026-02-07T10:31:45Z", outputs: { video_url: "…" } })

const afterPending = Option.some(derive(Option.none(), pending).cursor)
const cursor = derive(Option.none(), running).cursor
const afterRunning = Option.some(cursor)
const restored = () => Option.some(Either.getOrThrow(Transition.parseCursor(Transition.formatCursor(cursor))))

const calls = 200_000

const deriving = (name: string, f: () => unknown) => ({
  name,
  run: () =>
    cpu(calls, () => {
      for (let i = 0; i < calls; i++) f()
    })
})

console.log(table(
  "deriving",
  "µs of CPU",
  await interleaved(5, [
    deriving("pending, as before", () => derive(afterPending, pending)),
    deriving("running, nothing new in `info` (4 entries)", () => derive(afterRunning, runningAgain)),
    deriving("running, with progress: 1 transition", () => derive(afterRunning, further)),
    deriving("running to done: 1 transition", () => derive(afterRunning, done)),
    deriving("pending to running with a retry between: 4 transitions", () => derive(afterPending, running)),
    deriving("a cursor to text and back", () => restored())
  ])
))

// --- memory: the bytes that a call allocates, without garbage collection in between

const bytes = (f: () => unknown): number => {
  const n = 20_000
  const kept: Array<unknown> = new Array(n)
  const measure = () => {
    globalThis.gc?.()
    const before = process.memoryUsage().heapUsed
    for (let i = 0; i < n; i++) kept[i] = f()
    return (process.memoryUsage().heapUsed - before) / n
  }
  // the least: what V8 has not optimized yet allocates twice as much
  return Math.min(...Array.from({ length: 5 }, measure))
}

if (globalThis.gc === undefined) {
  console.log("memory is not measured: run with node --expose-gc")
} else {
  const transitions: ReadonlyArray<never> = []
  const result = bytes(() => Either.right({ transitions, cursor, stale: false }))
  const rows: ReadonlyArray<readonly [string, number]> = [
    ["the result alone: `Either.right({ transitions, cursor, stale })`", result],
    ["pending, as before", bytes(() => Transition.derive(afterPending, pending, options))],
    ["running, nothing new in `info`", bytes(() => Transition.derive(afterRunning, runningAgain, options))],
    ["running, with progress", bytes(() => Transition.derive(afterRunning, further, { observedAt }))]
  ]
  console.log([
    "| memory a call takes | bytes |",
    "| --- | ---: |",
    ...rows.map(([name, size]) => `| ${name} | ${size.toFixed(0)} |`),
    ""
  ].join("\n"))
}
