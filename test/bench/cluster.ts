/**
 * `npm run bench`: the heap that a job takes on a runner of a fleet, and in a process that watches it there.
 *
 *     npm run build && node --import tsx test/bench/cluster.ts
 */
import { TestRunner } from "@effect/cluster"
import { Effect, Exit, Layer, Scope } from "effect"
import { Cadence, Job, JobQueue, JobWatcher, WatchPolicy } from "effect-queue-status"
import { ClusterWatcher } from "effect-queue-status/cluster"
import { fileURLToPath } from "node:url"
import { child, compile, document } from "./fixtures.js"
import { handOver } from "./goals.js"

const jobs = 50_000
const { model } = document

const heap = (): number => {
  for (let i = 0; i < 4; i++) globalThis.gc!()
  return process.memoryUsage().heapUsed
}

const policy = WatchPolicy.withCadence(WatchPolicy.defaultPolicy, Cadence.fixed("1 hour"))

const measure = Effect.gen(function*() {
  const refs = Array.from({ length: jobs }, (_, i) => Job.ref(model, `019ba379-92da-71e4-ac40-${i}`))
  const refuse = () => Effect.die("no such call here")
  const queue = JobQueue.JobQueue.of({
    status: (job) => Effect.sync(() => Job.fromDocument({ ...document, request_id: job.requestId, model: job.model })),
    submit: refuse,
    cancel: refuse,
    clear: refuse,
    metrics: refuse
  })
  const layer = ClusterWatcher.layer({ pollsPerSecond: 1_000_000 }).pipe(
    Layer.provide(TestRunner.layer),
    Layer.provide(Layer.succeed(JobQueue.JobQueue, queue)),
    Layer.provide(Layer.succeed(WatchPolicy.Default, policy))
  )
  const { subscribe } = yield* Effect.provide(JobWatcher.JobWatcher, yield* Layer.build(layer))
  const watch = (refs: ReadonlyArray<Job.JobRef>) =>
    Effect.gen(function*() {
      const subscription = yield* subscribe({ policy, wants: "changes" })
      yield* Effect.forkScoped(Effect.forEach(refs, (job) => subscription.add(job), { discard: true }))
      for (let samples = 0; samples < refs.length;) {
        for (const { _tag } of yield* subscription.next) if (_tag === "Sample") samples++
      }
    })
  // all buckets have their entity
  yield* Effect.scoped(watch(refs.slice(0, 2_000).map(({ requestId }) => Job.ref("other", requestId))))
  const before = heap()
  const scope = yield* Scope.make()
  yield* Scope.extend(watch(refs), scope)
  const both = heap()
  yield* Scope.close(scope, Exit.void)
  const runner = heap()
  return [(runner - before) / jobs, (both - runner) / jobs]
}).pipe(Effect.scoped)

if (process.argv[2] === "child") {
  console.log(JSON.stringify(await Effect.runPromise(measure)))
} else {
  const file = await compile(fileURLToPath(import.meta.url))
  const bytes: ReadonlyArray<number> = JSON.parse(await child(file, ["--expose-gc"], ["child"]))
  const kib = (i: number) => (bytes[i]! / 1_024).toFixed(2)
  console.log([
    `| heap a job, of ${jobs.toLocaleString("en")} | KiB |`,
    "| --- | ---: |",
    `| on its runner | ${kib(0)} |`,
    `| in a process that watches it | ${kib(1)} |`,
    ""
  ].join("\n"))
  await handOver([
    { what: "heap of a job on its runner, of 50,000", value: bytes[0]! / 1_000, unit: "kB", goal: ["≤", 3] }
  ])
}
