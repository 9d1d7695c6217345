/**
 * `npm run bench`: the cost of many jobs, and of many polls, on the queue in memory. Each row runs in its own process,
 * to measure its memory separately; two run at a time.
 */
import { Effect, Fiber, Layer, Schedule, Stream, TestClock, TestContext } from "effect"
import { JobQueue, JobStream } from "effect-queue-status"
import { TestJobQueue, VirtualTime, Worker } from "effect-queue-status/testing"
import { fileURLToPath } from "node:url"
import { child, compile, inPairs } from "./fixtures.js"

const model = "my-org/video-generator"

/** Each job is claimed, sends ten heartbeats and ends. All are watched to their end, with bounded concurrency. */
const manyJobs = (jobs: number, atATime: number, watch: "transitions" | "result") =>
  Effect.gen(function*() {
    const refs = yield* Effect.replicateEffect(JobQueue.submit({ model, payload: {} }), jobs)
    yield* Effect.forEach(
      refs,
      (job) => watch === "result" ? Effect.asVoid(JobStream.result(job)) : Stream.runDrain(JobStream.transitions(job)),
      { concurrency: atATime, discard: true }
    )
    // Queued, Claimed, ten times Progressed, Completed
    const steps = yield* TestJobQueue.transitions(refs.at(-1)!)
    if (steps.length !== 13) return yield* Effect.dieMessage(`${steps.length} steps of a job`)
    return (yield* TestJobQueue.counts).status
  }).pipe(
    VirtualTime.run,
    Effect.provide(TestJobQueue.layer({
      workers: {
        workers: atATime,
        script: Worker.always(
          ...Worker.progressInSteps(10, Worker.uniform("1 second", "5 seconds")),
          Worker.finish("1 second")
        )
      }
    }))
  )

/** One job, polled each second. */
const longJob = Effect.gen(function*() {
  const job = yield* JobQueue.submit({ model, payload: {} })
  yield* JobStream.result(job, { cadence: Schedule.spaced("1 second") })
  return (yield* TestJobQueue.counts).status
})

const longJobs = (hours: number) =>
  TestJobQueue.layer({
    workers: { claimTimeout: "30 days", script: Worker.always(Worker.finish(`${hours} hours`)) }
  })

const rows: { readonly [name: string]: Effect.Effect<number> } = {
  "3,000 jobs, the transitions of 100 at a time": Effect.orDie(manyJobs(3_000, 100, "transitions")),
  "5,000 jobs, the results of 100 at a time": Effect.orDie(manyJobs(5_000, 100, "result")),
  "10,000 jobs, the results of all at once": Effect.orDie(manyJobs(10_000, 10_000, "result")),
  "six hours of polls, one a second": Effect.orDie(
    longJob.pipe(VirtualTime.run, Effect.provide(longJobs(6)))
  ),
  "a quarter of an hour of them": Effect.orDie(
    longJob.pipe(VirtualTime.run, Effect.provide(longJobs(0.25)))
  ),
  "the same under `TestClock.adjust`": Effect.orDie(
    Effect.gen(function*() {
      const fiber = yield* Effect.fork(longJob)
      yield* TestClock.adjust("1 hour")
      return yield* Fiber.join(fiber)
    }).pipe(Effect.provide(Layer.merge(longJobs(0.25), TestContext.TestContext)))
  )
}

const measure = (row: Effect.Effect<number>) =>
  Effect.gen(function*() {
    const started = performance.now()
    const before = process.cpuUsage()
    const polls = yield* row
    const { system, user } = process.cpuUsage(before)
    const wall = performance.now() - started
    const rss = process.resourceUsage().maxRSS / 1024
    return [
      polls.toLocaleString("en"),
      (wall / 1000).toFixed(2),
      ((user + system) / 1e6).toFixed(2),
      ((user + system) / polls).toFixed(0),
      rss.toFixed(0)
    ].join(" | ")
  })

// V8 lets a heap grow up to its limit: only a low limit shows the memory that a row needs
const heapOf = (name: string) =>
  name.includes("all at once") ? [] : ["--max-old-space-size=192", "--max-semi-space-size=32"]

const [name] = process.argv.slice(2)
if (name !== undefined) {
  console.log(await Effect.runPromise(measure(rows[name]!)))
} else {
  const file = await compile(fileURLToPath(import.meta.url))
  console.log("| on the queue in memory | polls | s | s of CPU | µs of CPU a poll | peak MB |")
  console.log("| --- | ---: | ---: | ---: | ---: | ---: |")
  const measured = new Map<string, string>()
  await inPairs(Object.keys(rows), async (name) => {
    measured.set(name, (await child(file, heapOf(name), [name])).trim())
  })
  for (const name of Object.keys(rows)) console.log(`| ${name} | ${measured.get(name)} |`)
}
