/**
 * What a program does must not depend on where its fibers yield to each other. Effect lets a fiber yield after 2,048
 * operations, whatever they are; here it yields at random, so that between any two of them another fiber may act.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scheduler from "effect/Scheduler"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import { JobQueue, JobRun, JobStream, JobWatcher, WatchPolicy } from "../src/index.js"
import { Conformance, type TestJobQueue, Worker } from "../src/testing/index.js"
import { seeded } from "../src/testing/internal/seededRandom.js"
import { get, make, path, readEvents } from "./fixtures/gateway.js"
import { inQueue } from "./fixtures/inQueue.js"
import { job as unknownJob, model } from "./fixtures/job.js"
import { runs } from "./fixtures/runs.js"

const request: JobQueue.SubmitRequest = { model, payload: { prompt: "a cat" } }

const submit = JobQueue.submit(request)

const workers: Worker.Pool = {
  workers: 3,
  claimTimeout: "5 seconds",
  script: Worker.attempts(
    [Worker.progress("1 second", 0.1), Worker.stopResponding],
    [...Worker.progressInSteps(20, "1 second"), Worker.finish("1 second", { answer: 42 })]
  )
}

const policy = { cadence: "1 second" } as const

/** Lets fibers yield after any operation, one in ten. */
const yielding = (seed: string): Scheduler.Scheduler => {
  const random = seeded(seed)
  return {
    // to yield takes a few operations itself
    shouldYield: (fiber) => fiber.currentOpCount > 3 && random() < 0.1 ? 0 : false,
    scheduleTask: (task, priority) => Scheduler.defaultScheduler.scheduleTask(task, priority)
  }
}

type Program = Effect.Effect<unknown, unknown, JobQueue.JobQueue | JobWatcher.JobWatcher | TestJobQueue.TestJobQueue>

const tags = <A extends { readonly _tag: string }, E, R>(stream: Stream.Stream<A, E, R>) =>
  Stream.runFold(stream, [] as ReadonlyArray<string>, (tags, { _tag }) => [...tags, _tag])

const programs: { readonly [name: string]: Program } = {
  "statuses": Effect.flatMap(submit, (job) => tags(JobStream.statuses(job, policy))),
  "transitions": Effect.flatMap(submit, (job) => tags(JobStream.transitions(job, policy))),
  "events": Effect.flatMap(submit, (job) => tags(JobStream.events(job, policy))),
  "result": Effect.flatMap(submit, (job) => JobStream.result(job, policy)),
  "watchAll": Effect.gen(function*() {
    const jobs = yield* Effect.replicateEffect(submit, 5)
    return (yield* tags(JobStream.watchAll(Stream.fromIterable([...jobs, unknownJob]), policy))).slice().sort()
  }),
  "a subscription to jobs that have ended": Effect.scoped(Effect.gen(function*() {
    const jobs = yield* Effect.replicateEffect(submit, 20)
    yield* Effect.forEach(jobs, (job) => JobStream.result(job, policy), { concurrency: "unbounded" })
    // a watcher that does not know them yet
    const watcher = yield* JobWatcher.make()
    const subscription = yield* watcher.subscribe({ policy: WatchPolicy.defaultPolicy, wants: "changes" })
    yield* Effect.forkScoped(Effect.forEach(jobs, (job) => subscription.add(job)))
    const seen: Array<string> = []
    const read = Effect.map(subscription.next, (notices) => {
      for (const { _tag, watch } of notices) seen.push(`${watch.job.requestId} ${_tag}`)
    })
    yield* Effect.timeoutOption(Effect.forever(read), "1 minute")
    return seen.sort()
  })),
  "run": JobRun.run(request),
  "the events of runs": Effect.replicateEffect(
    // how many steps are seen depends on the pauses, which are random
    tags(Stream.filter(JobRun.events(JobRun.run(request)), ({ _tag }) => _tag !== "Observed")),
    10,
    { concurrency: "unbounded" }
  ),
  "the checks of a watcher": Effect.forEach(
    Conformance.watcherChecks({ watcher: JobWatcher.layer(), pass: TestClock.adjust }),
    ({ name, run }) => Effect.as(run, name)
  ),
  "a stream of the gateway": Effect.gen(function*() {
    const jobs = yield* Effect.replicateEffect(submit, 3)
    const app = yield* make()
    const texts = [jobs.slice(0, 1), jobs].map((jobs) => get(app, path("events", jobs)))
    const all = yield* Effect.all(texts, { concurrency: "unbounded" })
    return all.map(({ text }) =>
      readEvents(text).map(({ event }) => event).filter((event) => event !== "Progressed").sort()
    )
  }).pipe(Effect.scoped)
}

describe("wherever fibers yield", () => {
  for (const [name, program] of Object.entries(programs)) {
    it.effect(`${name}: the result is the same`, () =>
      Effect.gen(function*() {
        const expected = yield* program.pipe(inQueue({ workers, seed: "any" }), Effect.exit)
        assert.isTrue(Exit.isSuccess(expected), String(expected))
        for (let i = 0; i < runs(4, 20); i++) {
          const seed = `${name} ${i}`
          const exit = yield* program.pipe(
            inQueue({ workers, seed: "any" }),
            Effect.withScheduler(yielding(seed)),
            Effect.exit
          )
          assert.deepStrictEqual(exit, expected, `the yields of ${seed}`)
        }
      }))
  }
})
