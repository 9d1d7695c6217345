import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect, Exit, Fiber, Schedule, Stream, TestClock, TestContext } from "effect"
import { Cadence, Deadline, JobQueue, JobStream, QueueError, Retry } from "effect-queue-status"
import type { WatchPolicy } from "effect-queue-status"
import { TestJobQueue, Worker } from "effect-queue-status/testing"
import * as FastCheck from "effect/FastCheck"
import * as Random from "effect/Random"

const exponential = Cadence.exponential({ base: "20 millis", factor: 1.5, cap: "300 millis" })
const transient = Retry.transient({ base: "10 millis", factor: 2, cap: "200 millis", times: 4 })

// whatever a user may come to compose, the careless included
const cadences: ReadonlyArray<readonly [string, Cadence.Cadence]> = [
  ["forever", Schedule.forever],
  ["ends at once", Schedule.recurs(0)],
  ["fixed", Cadence.fixed("200 millis")],
  ["fixed at nothing", Cadence.fixed(0)],
  ["exponential", exponential],
  ["union", Schedule.union(exponential, Schedule.forever)],
  ["intersect", Schedule.intersect(exponential, Schedule.spaced("150 millis"))],
  ["by phase", Cadence.byPhase({ pending: Schedule.spaced("1 millis"), running: exponential })],
  ["adaptive", Cadence.adaptive({ floor: "10 millis", cap: "500 millis" })]
]

const retries: ReadonlyArray<readonly [string, Retry.Retry]> = [
  ["forever", Schedule.forever],
  ["three times", Schedule.recurs(3)],
  ["transient", transient],
  ["union", Schedule.union(transient, Schedule.forever)],
  ["jittered", Schedule.jittered(Retry.honourRetryAfter(Schedule.spaced("30 millis")))],
  ["by kind", Retry.byKind({ transient, notFound: Schedule.forever })],
  ["default", Retry.defaultRetry]
]

type Fate = "answered" | "unavailable" | "hangs" | number

const scenario = FastCheck.record({
  cadence: FastCheck.constantFrom(...cadences),
  retry: FastCheck.constantFrom(...retries),
  total: FastCheck.integer({ min: 0, max: 1_500 }),
  request: FastCheck.constantFrom(40, 300, Infinity),
  seed: FastCheck.integer(),
  /** What becomes of the first, the second … request, over and over; a number is a `Retry-After` in milliseconds. */
  fates: FastCheck.array(
    FastCheck.oneof(
      { weight: 4, arbitrary: FastCheck.constant<Fate>("answered") },
      { weight: 1, arbitrary: FastCheck.constantFrom<Fate>("unavailable", "hangs") },
      { weight: 1, arbitrary: FastCheck.integer({ min: 0, max: 700 }) }
    ),
    { minLength: 1, maxLength: 6 }
  )
})

describe("every policy that can be composed", () => {
  it("keeps the floor, does what Retry-After says, and is over in time", () =>
    FastCheck.assert(
      FastCheck.asyncProperty(scenario, ({ cadence: [, cadence], fates, request, retry: [, retry], seed, total }) => {
        const fateOf = (nth: number): Fate => fates[(nth - 1) % fates.length] ?? "answered"
        const policy: Partial<WatchPolicy.WatchPolicy> = {
          cadence,
          retry,
          deadline: Deadline.sooner(Deadline.total(total), Deadline.request(request))
        }
        return Effect.gen(function*() {
          const job = yield* JobQueue.submit({ model: "m", payload: {} })
          const fiber = yield* Effect.fork(
            Effect.zip(Effect.exit(Stream.runDrain(JobStream.transitions(job, policy))), Clock.currentTimeMillis)
          )
          yield* TestClock.adjust("10 seconds")
          const [exit, endedAt] = yield* Fiber.join(fiber)
          const { calls } = yield* TestJobQueue.TestJobQueue
          const polls = (yield* calls).filter(({ operation }) => operation === "status")

          // it ends no later than the deadline says, and nothing is asked afterwards
          assert.isAtMost(endedAt, total)
          assert.isTrue(polls.every(({ at }) => at <= total))
          // it ends with the job, with the deadline, or because no retry was left; never with a defect
          assert(Exit.isSuccess(exit) || exit.cause._tag === "Fail", String(exit))
          polls.slice(1).forEach(({ at, nth }, i) => {
            const gap = at - (polls[i]?.at ?? 0)
            assert.isAtLeast(gap, Duration.toMillis(Cadence.minPause))
            const fate = fateOf(nth - 1)
            if (typeof fate === "number") assert.isAtLeast(gap, fate, "Retry-After was undercut")
          })
        }).pipe(
          Effect.provide(TestJobQueue.layer({
            workers: {
              pickup: "200 millis",
              script: Worker.always(Worker.progress("200 millis", 0.3), Worker.finish("700 millis"))
            },
            fault: ({ model, nth, operation }) => {
              if (operation !== "status") return Effect.void
              const fate = fateOf(nth)
              return fate === "answered"
                ? Effect.void
                : fate === "hangs"
                ? Effect.never
                : fate === "unavailable"
                ? Effect.fail(new QueueError.Unavailable({ operation, model, httpStatus: 503 }))
                : Effect.fail(
                  new QueueError.RateLimited({ operation, model, httpStatus: 429, retryAfter: Duration.millis(fate) })
                )
            }
          })),
          Effect.withRandom(Random.make(seed)),
          Effect.provide(TestContext.TestContext),
          Effect.runPromise
        )
      }),
      { numRuns: 120 }
    ))
})
