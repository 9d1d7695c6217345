/** An owner that is interrupted ends in time, whatever the queue, the journal and the app do. */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import { Job, JobQueue, JobRun, JobWatcher, SubmitJournal } from "../../src/index.js"
import { TestJobQueue, VirtualTime } from "../../src/testing/index.js"

const request = { model: "m/v", payload: {} }
const job = Job.ref("m/v", "019ba379-92da-71e4-ac40-d98059fd67c7")

/** Milliseconds from an interruption to the end of a run. */
const timeToEnd = <E, R>(run: Effect.Effect<unknown, E, R>) =>
  Effect.gen(function*() {
    const clock = yield* Effect.clock
    const fiber = yield* Effect.fork(run)
    yield* Effect.sleep("3 seconds")
    const start = clock.unsafeCurrentTimeMillis()
    yield* Fiber.interrupt(fiber)
    return clock.unsafeCurrentTimeMillis() - start
  })

describe("an interrupted run ends within its releaseTimeout, twice that during the submit,", () => {
  it.effect("if the journal does not answer", () =>
    Effect.gen(function*() {
      const journal = yield* SubmitJournal.make({
        get: () => Effect.succeedNone,
        set: (_, { _tag }) => _tag === "Submitted" ? Effect.never : Effect.void,
        remove: () => Effect.void
      })
      const run = JobRun.run(request, { key: "k", releaseTimeout: "1 second" })
      assert.isAtMost(yield* timeToEnd(Effect.provideService(run, SubmitJournal.SubmitJournal, journal)), 2_000)
    }).pipe(VirtualTime.run, Effect.provide(TestJobQueue.layer())))

  it.effect("if the submit cannot be interrupted", () =>
    Effect.gen(function*() {
      const releases: Array<string> = []
      const onRelease = ({ _tag }: JobRun.Release) => Effect.sync(() => void releases.push(_tag))
      const run = JobRun.run(request, { key: "k", releaseTimeout: "1 second", onRelease })
      assert.isAtMost(yield* timeToEnd(run), 2_000)
      assert.deepStrictEqual(releases, ["Unknown"])
    }).pipe(
      VirtualTime.run,
      Effect.provide(
        JobWatcher.layer().pipe(Layer.provideMerge(Layer.mock(JobQueue.JobQueue, {
          submit: () => Effect.uninterruptible(Effect.delay(Effect.succeed(job), "1 minute"))
        })))
      )
    ))

  it.effect("if onRelease takes long", () =>
    Effect.gen(function*() {
      const run = JobRun.run(request, { releaseTimeout: "1 second", onRelease: () => Effect.sleep("1 hour") })
      assert.isAtMost(yield* timeToEnd(run), 2_000)
    }).pipe(VirtualTime.run, Effect.provide(TestJobQueue.layer())))
})

it.effect("a run that is interrupted as its submit is about to be sent sends nothing", () =>
  Effect.gen(function*() {
    const entries: Array<string> = []
    const isSet = yield* Deferred.make<void>()
    const journal = yield* SubmitJournal.make({
      get: () => Effect.succeedNone,
      set: (_, { _tag }) => Effect.zipRight(Effect.sync(() => entries.push(_tag)), Deferred.await(isSet)),
      remove: () => Effect.sync(() => void entries.push("removed"))
    })
    const run = JobRun.run(request, { key: "k", onRelease: ({ _tag }) => Effect.sync(() => void entries.push(_tag)) })
    const fiber = yield* Effect.fork(Effect.provideService(run, SubmitJournal.SubmitJournal, journal))
    yield* Effect.sleep("1 second")
    yield* Fiber.interruptFork(fiber)
    yield* Effect.yieldNow()
    yield* Deferred.succeed(isSet, undefined)
    yield* Fiber.await(fiber)
    yield* TestJobQueue.expectJobs(0)
    assert.deepStrictEqual(entries, ["Sent", "removed"])
  }).pipe(VirtualTime.run, Effect.provide(TestJobQueue.layer())))
