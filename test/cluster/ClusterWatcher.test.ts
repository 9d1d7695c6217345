import * as TestRunner from "@effect/cluster/TestRunner"
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import { ClusterWatcher } from "../../src/cluster/index.js"
import { Job, JobQueue, JobStream, QueueError, WatchPolicy } from "../../src/index.js"
import { Conformance } from "../../src/testing/index.js"
import * as PollingWatcher from "../../src/watch/internal/pollingWatcher.js"
import { runs } from "../fixtures/runs.js"

/** Snapshots no older than the shortest interval: some checks are about a progress of 400 milliseconds. */
const policy = Layer.succeed(WatchPolicy.Default, WatchPolicy.withCadence(WatchPolicy.defaultPolicy, "1 millis"))

const watcher = ClusterWatcher.layer().pipe(Layer.provide(TestRunner.layer), Layer.provide(policy))

describe("the checks of a watcher", () => {
  for (const { name, run } of Conformance.watcherChecks({ watcher, pass: TestClock.adjust })) {
    it.effect(name, () => run)
  }
})

const job = Job.ref("my-org/video-generator", "one")

/** A queue with one job, whose polls are counted. */
const counting = (status: (polls: number) => Effect.Effect<Job.JobStatus, QueueError.QueueError>) => {
  const counts = { polls: 0 }
  const queue = Layer.mock(JobQueue.JobQueue, { status: () => Effect.suspend(() => status(++counts.polls)) })
  return {
    counts,
    queue,
    layer: ClusterWatcher.layer().pipe(
      Layer.provideMerge(TestRunner.layer),
      Layer.provide(queue),
      Layer.provide(Layer.succeed(WatchPolicy.Default, WatchPolicy.withCadence(WatchPolicy.defaultPolicy, "1 second")))
    )
  }
}

const pending = Effect.succeed(Job.Pending({ job }))

const retryAfter = (millis: number) =>
  new QueueError.RateLimited({
    operation: "status",
    model: job.model,
    job,
    httpStatus: 429,
    retryAfter: Duration.millis(millis)
  })

const pauses = FastCheck.array(
  FastCheck.tuple(FastCheck.integer({ min: 1, max: 4_000 }), FastCheck.integer({ min: 1, max: 3_000 })),
  { maxLength: 5 }
)

it.effect.prop("after a 429 to another runner nothing is polled until its Retry-After, and no job is in trouble", [
  pauses
], ([pauses]) => {
  const polls: Array<number> = []
  const { queue } = counting(() =>
    Effect.zipRight(Effect.map(Clock.currentTimeMillis, (at) => polls.push(at)), pending)
  )
  return Effect.gen(function*() {
    const watcher = yield* PollingWatcher.make(yield* JobQueue.JobQueue, {})
    const policy = WatchPolicy.withCadence(WatchPolicy.defaultPolicy, "100 millis")
    const subscription = yield* watcher.subscribe({ policy, wants: "changes" })
    let notices: ReadonlyArray<string> = []
    yield* Effect.forkScoped(Effect.forever(
      Effect.map(subscription.next, (chunk) => {
        notices = [...notices, ...Array.from(chunk, ({ _tag }) => _tag)]
      })
    ))
    const events: Array<string> = []
    yield* Effect.forkScoped(
      Stream.runForEach(watcher.pollingEvents, ({ _tag }) => Effect.sync(() => events.push(_tag)))
    )
    yield* subscription.add(job)
    const asked: Array<readonly [from: number, until: number]> = []
    for (const [after, millis] of pauses) {
      yield* TestClock.adjust(after)
      const now = yield* Clock.currentTimeMillis
      yield* watcher.pause(retryAfter(millis))
      asked.push([now, now + millis])
    }
    yield* TestClock.adjust("4 seconds")
    assert.deepStrictEqual(polls.filter((at) => asked.some(([from, until]) => at > from && at < until)), [])
    assert.isAbove(polls.at(-1)!, Math.max(0, ...asked.map(([, until]) => until)), "the polls go on")
    const isNew = asked.filter(([from], i) => asked.slice(0, i).every(([, until]) => until <= from))
    assert.deepStrictEqual(events, isNew.map(() => "PollingPaused"))
    assert.deepStrictEqual(notices, ["Sample"])
  }).pipe(Effect.scoped, Effect.provide(queue))
}, { fastCheck: { numRuns: runs(6, 16) } })

const watch = Stream.runDrain(JobStream.transitions(job, { cadence: "1 second" }))

it.effect("polls a job once for all subscribers, and stops with the last one", () => {
  const { counts, layer } = counting(() => pending)
  return Effect.gen(function*() {
    const watches = yield* Effect.fork(
      Effect.replicateEffect(watch, 1_000, { concurrency: "unbounded", discard: true })
    )
    yield* TestClock.adjust("10 seconds")
    assert.isAtLeast(counts.polls, 9)
    assert.isAtMost(counts.polls, 12)
    yield* Fiber.interrupt(watches)
    yield* TestClock.adjust("41 seconds")
    const { polls } = counts
    yield* TestClock.adjust("10 seconds")
    assert.strictEqual(counts.polls, polls)
  }).pipe(Effect.provide(layer))
})

it.effect("reports the errors of the service to each subscriber, and continues after them", () => {
  const { layer } = counting((polls) =>
    polls <= 2
      ? Effect.fail(
        new QueueError.Unavailable({ operation: "status", model: job.model, job, httpStatus: 503, detail: "try later" })
      )
      : Effect.succeed(Job.Done({ job }))
  )
  return Effect.gen(function*() {
    const fiber = yield* Effect.fork(Stream.runCollect(JobStream.events(job)))
    yield* TestClock.adjust("20 seconds")
    const events = Array.from(yield* Fiber.join(fiber))
    const [trouble] = events
    assert.strictEqual(trouble?._tag === "Trouble" && trouble.error.message.includes("try later"), true)
    assert.strictEqual(events.at(-1)?._tag, "Completed")
  }).pipe(Effect.provide(layer))
})

it.effect("an error that does not pass ends the watch", () => {
  const { layer } = counting(() =>
    Effect.fail(new QueueError.AccessDenied({ operation: "status", model: job.model, job, httpStatus: 401 }))
  )
  return Effect.gen(function*() {
    const fiber = yield* Effect.fork(Effect.flip(watch))
    yield* TestClock.adjust("1 second")
    assert.strictEqual((yield* Fiber.join(fiber))._tag, "AccessDenied")
  }).pipe(Effect.provide(layer))
})

it.effect("a defect of a runner's queue is an error of the watch, and does not wait for another runner", () => {
  const { layer } = counting(() => Effect.die(new Error("a bug of the app\nand its details")))
  return Effect.gen(function*() {
    const fiber = yield* Effect.fork(Effect.flip(JobStream.result(job, { retry: Schedule.stop })))
    yield* TestClock.adjust("5 seconds")
    const error = yield* Fiber.join(fiber)
    assert.strictEqual(error._tag, "Unreachable")
    assert.include(error.message, "a bug of the app")
    assert.notInclude(error.message, "its details")
  }).pipe(Effect.provide(layer))
})

it.effect("one process owns all jobs", () =>
  Effect.gen(function*() {
    yield* TestClock.adjust("1 second")
    assert.strictEqual(yield* ClusterWatcher.share, 1)
  }).pipe(Effect.provide(TestRunner.layer)))
