/**
 * `npm run bench`: the cost that `JobTelemetry.layer` adds to a `JobWatcher`. The queue is in the process, in virtual
 * time where CPU is measured. Compared rows run side by side, so that the machine is equally fast for both. A quiet
 * poll is the median of three processes.
 */
import { Effect, Layer, Schema, Stream, TestContext, Tracer } from "effect"
import { Cadence, Job, JobQueue, JobStream, JobTelemetry, JobWatcher } from "effect-queue-status"
import { VirtualTime } from "effect-queue-status/testing"
import { fileURLToPath } from "node:url"
import { child, compile, cpuNow, document, heap, inPairs, median } from "./fixtures.js"
import { type Figure, handOver } from "./goals.js"

const { model } = document

const refs = (count: number): ReadonlyArray<Job.JobRef> =>
  // `JSON.parse` returns a flat text, as in a response
  Array.from({ length: count }, (_, i) => Job.ref(model, JSON.parse(`"${String(i).padStart(36, "0")}"`)))

const decode = Schema.decodeUnknownSync(Job.JobStatus)

const statuses = {
  pending: decode({ ...document, status: "pending", retries: 0, claimed_at: null, info: {} }),
  running: decode({ ...document, retries: 0 }),
  done: decode({ ...document, status: "done", retries: 0, done_at: "2026-02-07T10:31:45Z", outputs: {} })
}

/** A queue that returns these snapshots of each job, one after the other, and then the last one. */
const queueOf = (snapshots: ReadonlyArray<Job.JobStatus>) => {
  const polls = new Map<string, number>()
  const refuse = () => Effect.die("no such call here")
  return Layer.succeed(JobQueue.JobQueue, {
    status: (job) =>
      Effect.sync(() => {
        const poll = polls.get(job.requestId) ?? 0
        if (poll < snapshots.length - 1) polls.set(job.requestId, poll + 1)
        return { ...snapshots[poll]!, job }
      }),
    submit: refuse,
    cancel: refuse,
    clear: refuse,
    metrics: refuse
  })
}

type Telemetry = "none" | "metrics" | "traces"

const provided =
  (telemetry: Telemetry, snapshots: ReadonlyArray<Job.JobStatus>) =>
  <A, E>(effect: Effect.Effect<A, E, JobWatcher.JobWatcher>): Effect.Effect<A, E> => {
    const watcher = JobWatcher.layer({ pollsPerSecond: 10_000_000 }).pipe(Layer.provide(queueOf(snapshots)))
    return Effect.flatMap(Effect.tracer, ({ context, span }) =>
      effect.pipe(
        Effect.provide(telemetry === "none" ? watcher : Layer.provide(JobTelemetry.layer, watcher)),
        // the layer makes no spans for the default tracer, since it exports none
        Effect.withTracer(Tracer.make({ context, span })),
        Effect.withTracerEnabled(telemetry === "traces")
      ))
  }

const watchAll = (jobs: ReadonlyArray<Job.JobRef>, cadence: Cadence.Cadence) =>
  JobStream.watchAll(Stream.fromIterable(jobs), { cadence })

const { done, pending, running } = statuses

/** Bytes of memory for each running job that is watched with many others. */
const memory = (telemetry: Telemetry) => {
  const jobs = refs(50_000)
  return Effect.scoped(Effect.gen(function*() {
    let reported = 0
    const before = heap()
    yield* Effect.forkScoped(
      Stream.runForEach(watchAll(jobs, Cadence.fixed("1 hour")), () =>
        Effect.sync(() => {
          reported++
        }))
    )
    // Queued, Claimed, Progressed
    while (reported < 3 * jobs.length) yield* Effect.sleep("50 millis")
    return (heap() - before) / jobs.length
  })).pipe(provided(telemetry, [running]))
}

/** Bytes of memory for each job whose result is awaited by its own fiber. */
const memoryOfResults = (telemetry: Telemetry) => {
  const jobs = refs(10_000)
  return Effect.gen(function*() {
    const before = heap()
    yield* Effect.forEach(jobs, (job) => Effect.fork(JobStream.result(job, { cadence: Cadence.fixed("1 hour") })), {
      discard: true
    })
    yield* Effect.sleep("1 second")
    return (heap() - before) / jobs.length
  }).pipe(provided(telemetry, [running]))
}

const cpu = Effect.sync(cpuNow)

/** Microseconds of CPU for a poll without a change. */
const quietPolls = (telemetry: Telemetry) =>
  Effect.scoped(Effect.gen(function*() {
    yield* Effect.forkScoped(Stream.runDrain(watchAll(refs(10_000), Cadence.fixed("10 seconds"))))
    yield* Effect.sleep("15 seconds")
    const before = yield* cpu
    yield* Effect.sleep("2 minutes")
    return ((yield* cpu) - before) / 120_000
  })).pipe(provided(telemetry, [running]), VirtualTime.run, Effect.provide(TestContext.TestContext))

/** Bytes that a poll without a change allocates. Needs a young generation that is not collected meanwhile. */
const allocations = (telemetry: Telemetry) =>
  Effect.scoped(Effect.gen(function*() {
    const count = 20_000
    yield* Effect.forkScoped(Stream.runDrain(watchAll(refs(count), Cadence.fixed("10 seconds"))))
    // until the code is optimized
    yield* Effect.sleep("45 seconds")
    const rounds: Array<number> = []
    for (let round = 0; round < 5; round++) {
      const before = heap()
      yield* Effect.sleep("10 seconds")
      rounds.push((process.memoryUsage().heapUsed - before) / count)
    }
    return median(rounds)
  })).pipe(provided(telemetry, [running]), VirtualTime.run, Effect.provide(TestContext.TestContext))

/** Microseconds of CPU a job of 40,000 that is polled twelve times, from its submit to its end. */
const jobs = (telemetry: Telemetry) =>
  Effect.gen(function*() {
    const watch = (count: number) => Stream.runDrain(watchAll(refs(count), Cadence.fixed("10 seconds")))
    yield* watch(2_000)
    const before = yield* cpu
    yield* watch(40_000)
    return ((yield* cpu) - before) / 40_000
  }).pipe(
    provided(telemetry, [
      ...Array.from({ length: 5 }, () => pending),
      ...Array.from({ length: 6 }, () => running),
      done
    ]),
    VirtualTime.run,
    Effect.provide(TestContext.TestContext)
  )

const rows: { readonly [name: string]: (telemetry: Telemetry) => Effect.Effect<number, unknown> } = {
  memory,
  memoryOfResults,
  quietPolls,
  allocations,
  jobs
}

const flags: { readonly [name: string]: ReadonlyArray<string> } = {
  allocations: ["--min-semi-space-size=512", "--max-semi-space-size=512", "--no-minor-gc-task"]
}

const columns: ReadonlyArray<Telemetry> = ["none", "metrics", "traces"]

const measure = async () => {
  const file = await compile(fileURLToPath(import.meta.url))
  const all = new Map<string, Array<number>>()
  const measureRow = async (row: string, column: Telemetry) => {
    const figure = Number(await child(file, ["--expose-gc", ...flags[row] ?? []], [row, column]))
    all.set(`${row} ${column}`, [...all.get(`${row} ${column}`) ?? [], figure])
  }
  for (const row of [...Object.keys(rows), "quietPolls", "quietPolls"]) {
    await Promise.all([measureRow(row, "none"), measureRow(row, "metrics")])
  }
  // only metrics have a goal
  await inPairs(Object.keys(rows), (row) => measureRow(row, "traces"))
  const of = (row: string, column: Telemetry) => median(all.get(`${row} ${column}`)!)
  const bytes = (value: number) => `${value.toFixed(0)} bytes`
  const micros = (value: number) => `${value.toFixed(1)} µs`
  const lines: ReadonlyArray<readonly [what: string, row: string, format: (value: number) => string]> = [
    ["CPU of a poll that shows nothing new", "quietPolls", micros],
    ["allocated by a poll that shows nothing new", "allocations", bytes],
    ["CPU of a job of 40,000, from its submit to its end, 12 polls", "jobs", micros],
    ["memory of a running job, 50,000 watched together", "memory", bytes],
    ["memory of a running job, each with a `JobStream.result`", "memoryOfResults", bytes]
  ]
  console.log("| watching | without | metrics | traces and metrics | |")
  console.log("| --- | ---: | ---: | ---: | ---: |")
  for (const [what, row, format] of lines) {
    const [none, metrics, traces] = columns.map((column) => of(row, column)) as [number, number, number]
    const ratios = `${(metrics / none).toFixed(2)} and ${(traces / none).toFixed(2)} times`
    console.log(`| ${what} | ${format(none)} | ${format(metrics)} | ${format(traces)} | ${ratios} |`)
  }
  const withMetrics = (what: string, row: string): Figure => ({
    what: `${what} with metrics, beside without`,
    value: of(row, "metrics") / of(row, "none"),
    unit: "times",
    goal: ["≤", 1.1]
  })
  await handOver([
    withMetrics("CPU of a poll that shows nothing new,", "quietPolls"),
    withMetrics("CPU of a job of 40,000, from its submit to its end,", "jobs"),
    {
      // rounds differ by some bytes, and no object has fewer than 16
      what: "allocated by a poll that shows nothing new, with metrics more than without",
      value: Math.max(0, of("allocations", "metrics") - of("allocations", "none")),
      unit: "bytes",
      goal: ["<", 16]
    }
  ])
}

const [row, column] = process.argv.slice(2)
if (row === undefined) await measure()
else console.log(await Effect.runPromise(rows[row]!(column as Telemetry)))
process.exit()
