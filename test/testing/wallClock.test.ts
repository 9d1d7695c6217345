/**
 * The queue in memory while the wall clock is set: its intervals keep their lengths, its dates are those of the clock.
 */
import { assert, describe, it } from "@effect/vitest"
import { assertNone, assertSome } from "@effect/vitest/utils"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Fiber from "effect/Fiber"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import { JobQueue, JobStream } from "../../src/index.js"
import { Fault, TestJobQueue, Worker } from "../../src/testing/index.js"
import * as SimulatedQueue from "../../src/testing/internal/simulatedQueue.js"
import { settableClock } from "../fixtures/answeringQueue.js"
import { model } from "../fixtures/job.js"

const hour = 3_600_000

const changes = { "back by an hour": -hour, "back by 0.3 seconds": -300, "forward by an hour": hour }

interface Hands {
  readonly now: () => number
  /** Sets the wall clock. */
  readonly set: () => void
  /** Lets seconds pass. */
  readonly pass: (seconds: number) => Effect.Effect<void>
}

const submit = JobQueue.submit({ model, payload: {} })

describe("the wall clock is set", () => {
  for (const [name, change] of Object.entries(changes)) {
    const setting = (use: (clock: Hands) => Effect.Effect<void, unknown>) =>
      Effect.gen(function*() {
        yield* TestClock.adjust("1 day")
        const clock = yield* settableClock
        const outer = yield* Effect.clock
        const pass = (seconds: number) => Effect.withClock(TestClock.adjust(seconds * 1_000), outer)
        yield* Effect.withClock(use({ now: clock.unsafeCurrentTimeMillis, set: () => clock.set(change), pass }), clock)
      })

    const withQueue = (
      options: TestJobQueue.Options,
      use: (clock: Hands) => Effect.Effect<void, unknown, Layer.Layer.Success<ReturnType<typeof TestJobQueue.layer>>>
    ) => setting((clock) => Effect.provide(use(clock), TestJobQueue.layer(options)))

    it.effect(`${name}: workers keep their times, and dates are by the clock`, () =>
      withQueue(
        { workers: { script: Worker.always(Worker.finish("10 seconds")), pickup: "5 seconds" } },
        ({ now, pass, set }) =>
          Effect.gen(function*() {
            const start = now()
            const job = yield* submit
            yield* pass(8)
            set()
            yield* pass(6)
            assert.strictEqual((yield* JobQueue.status(job))._tag, "Running")
            yield* pass(1)
            const done = yield* JobQueue.status(job)
            assert.strictEqual(done._tag, "Done")
            assertSome(done.createdAt, DateTime.unsafeMake(start))
            assertSome(done.doneAt, DateTime.unsafeMake(start + change + 15_000))
            const times = (yield* TestJobQueue.transitions(job)).map(({ observedAt }) => observedAt.epochMillis - start)
            assert.deepStrictEqual(times, [0, change + 5_000, change + 15_000])
          })
      ))

    it.effect(`${name}: a claim expires on time`, () =>
      withQueue({}, ({ pass, set }) =>
        Effect.gen(function*() {
          const job = yield* submit
          yield* TestJobQueue.claim(model, "10 seconds")
          set()
          yield* pass(9)
          assert.isTrue(yield* TestJobQueue.heartbeat(job))
          set()
          yield* pass(9)
          assertNone(yield* TestJobQueue.claim(model))
          yield* pass(1)
          assert.isTrue(Option.isSome(yield* TestJobQueue.claim(model)))
        })))

    it.effect(`${name}: the dates of a job that was submitted afterwards, and lost by every worker, are by the clock`, () =>
      withQueue(
        { workers: { script: Worker.always(Worker.stopResponding), claimTimeout: "10 seconds" } },
        ({ now, pass, set }) =>
          Effect.gen(function*() {
            set()
            const submittedAt = now()
            const job = yield* submit
            yield* pass(45)
            const failed = yield* JobQueue.status(job)
            assert.strictEqual(failed._tag, "Failed")
            assertSome(failed.createdAt, DateTime.unsafeMake(submittedAt))
            assertSome(failed.claimedAt, DateTime.unsafeMake(submittedAt + 30_000))
            assertSome(failed.doneAt, DateTime.unsafeMake(submittedAt + 40_000))
          })
      ))

    it.effect(`${name}: a replica lags by the same time`, () =>
      withQueue(
        { faults: [Fault.stale("10 seconds").pipe(Fault.on("status"))] },
        ({ pass, set }) =>
          Effect.gen(function*() {
            const job = yield* submit
            yield* pass(5)
            yield* TestJobQueue.claim(model)
            set()
            yield* pass(6)
            assert.strictEqual((yield* JobQueue.status(job))._tag, "Pending")
            yield* pass(4)
            assert.strictEqual((yield* JobQueue.status(job))._tag, "Running")
          })
      ))

    it.effect(`${name}: the conditions of faults are by intervals, and so are expectations`, () =>
      withQueue({
        faults: [
          Fault.rateLimited().pipe(Fault.on("status"), Fault.aboveRate(1, "10 seconds")),
          Fault.unauthorized.pipe(Fault.on("status"), Fault.during("20 seconds", "30 seconds"))
        ]
      }, ({ pass, set }) =>
        Effect.gen(function*() {
          const job = yield* submit
          const poll = Effect.map(
            Effect.either(JobQueue.status(job)),
            (seen) => Either.match(seen, { onLeft: ({ _tag }) => _tag, onRight: ({ _tag }) => _tag })
          )
          const seen = [yield* poll]
          for (const pause of [9, 1, 9, 2, 10]) {
            set()
            yield* pass(pause)
            seen.push(yield* poll)
          }
          assert.deepStrictEqual(seen, ["Pending", "RateLimited", "Pending", "RateLimited", "AccessDenied", "Pending"])
          yield* TestJobQueue.expectPolls(job, [0, 9_000, 10_000, 19_000, 21_000, 31_000])
          yield* TestJobQueue.expectNoCallsAfter("31 seconds")
        })))

    it.effect(`${name}: a watch sees what happened`, () =>
      withQueue(
        { workers: { script: Worker.attempts([Worker.stopResponding], [Worker.finish("10 seconds")]) } },
        ({ pass, set }) =>
          Effect.gen(function*() {
            const job = yield* submit
            const watch = yield* Effect.fork(Stream.runCollect(JobStream.transitions(job)))
            yield* pass(20)
            set()
            yield* pass(300)
            yield* TestJobQueue.expectMatchesHistory(job, yield* Fiber.join(watch))
          })
      ))

    it.effect(`${name}: a long poll keeps its timeout, and wakes as a claim expires`, () =>
      setting(({ pass, set }) => {
        const queue = SimulatedQueue.make({ workers: undefined, random: Random.make("polls") })
        const retrieve = queue.retrieve({ model, timeout: 20_000, patience: 30_000, isThere: () => true })
        return Effect.gen(function*() {
          yield* queue.submit({ model, payload: {} })
          yield* retrieve
          const [next, last] = [yield* Effect.fork(retrieve), yield* Effect.fork(retrieve)]
          yield* pass(10)
          set()
          yield* pass(9)
          assertNone(yield* Fiber.poll(next))
          yield* pass(1)
          assert.isTrue(Option.isSome(yield* Fiber.join(next)))
          yield* pass(9)
          assertNone(yield* Fiber.poll(last))
          yield* pass(1)
          assertNone(yield* Fiber.join(last))
        })
      }))
  }
})
