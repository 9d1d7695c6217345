import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect, Exit, Schedule, Stream } from "effect"
import { Cadence, Deadline, JobQueue, JobStream, Retry, WatchPolicy } from "effect-queue-status"
import { Fault, TestJobQueue, VirtualTime, Worker } from "effect-queue-status/testing"
import * as FastCheck from "effect/FastCheck"
import { minPause } from "../../src/policy/internal/pauses.js"
import { runs } from "../fixtures/runs.js"

const exponential = Cadence.exponential({ base: "20 millis", factor: 1.5, cap: "300 millis" })
const transient = Retry.transient({ base: "10 millis", factor: 2, cap: "200 millis", times: 4 })

// what users may compose, careless policies included
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
  ["jittered", Schedule.jittered(Retry.respectRetryAfter(Schedule.spaced("30 millis")))],
  ["by kind", Retry.byKind({ transient, notFound: Schedule.forever })],
  ["default", Retry.defaultRetry]
]

type Outcome = "answered" | "unavailable" | "hangs" | number

const scenario = FastCheck.record({
  cadence: FastCheck.constantFrom(...cadences),
  retry: FastCheck.constantFrom(...retries),
  total: FastCheck.integer({ min: 0, max: 1_500 }),
  request: FastCheck.constantFrom(40, 300, Infinity),
  seed: FastCheck.integer(),
  /** The outcomes of the first, the second … request, repeated; a number is a `Retry-After` in milliseconds. */
  outcomes: FastCheck.array(
    FastCheck.oneof(
      { weight: 4, arbitrary: FastCheck.constant<Outcome>("answered") },
      { weight: 1, arbitrary: FastCheck.constantFrom<Outcome>("unavailable", "hangs") },
      { weight: 1, arbitrary: FastCheck.integer({ min: 0, max: 700 }) }
    ),
    { minLength: 1, maxLength: 6 }
  )
})

const faultOf = (outcome: Exclude<Outcome, "answered">): Fault.Fault =>
  outcome === "hangs" ? Fault.noResponse : outcome === "unavailable" ? Fault.unavailable() : Fault.rateLimited(outcome)

describe("every policy that can be composed", () => {
  it("keeps the minimum pause and Retry-After, and ends in time", () =>
    FastCheck.assert(
      FastCheck.asyncProperty(
        scenario,
        ({ cadence: [, cadence], outcomes, request, retry: [, retry], seed, total }) => {
          const outcomeOf = (nth: number): Outcome => outcomes[(nth - 1) % outcomes.length] ?? "answered"
          const policy: JobStream.Options = {
            cadence,
            retry,
            deadline: Deadline.min(Deadline.total(total), Deadline.request(request))
          }
          return Effect.gen(function*() {
            const job = yield* JobQueue.submit({ model: "m", payload: {} })
            const exit = yield* Effect.exit(Stream.runDrain(JobStream.transitions(job, policy)))
            const endedAt = yield* Clock.currentTimeMillis
            const { calls, startedAt } = yield* TestJobQueue.TestJobQueue
            yield* Effect.sleep("10 seconds")
            const polls = (yield* calls).filter(({ operation }) => operation === "status")

            // it ends no later than one request after the deadline, and sends no request afterwards
            assert.isAtMost(endedAt - startedAt, total + request)
            yield* TestJobQueue.expectNoCallsAfter(total + request)
            // it ends with the job, with the deadline, or because no retry was left; never with a defect
            assert(Exit.isSuccess(exit) || exit.cause._tag === "Fail", String(exit))
            polls.slice(1).forEach(({ at, nth }, i) => {
              const gap = at - (polls[i]?.at ?? 0)
              assert.isAtLeast(gap, Duration.toMillis(minPause))
              const outcome = outcomeOf(nth - 1)
              if (typeof outcome === "number") assert.isAtLeast(gap, outcome, "Retry-After was undercut")
            })
          }).pipe(
            Effect.provide(TestJobQueue.layer({
              seed,
              workers: {
                pickup: "200 millis",
                script: Worker.always(Worker.progress("200 millis", 0.3), Worker.finish("700 millis"))
              },
              faults: outcomes.flatMap((outcome, i) =>
                outcome === "answered"
                  ? []
                  : [
                    faultOf(outcome).pipe(
                      Fault.on("status"),
                      Fault.where(({ nth }) => (nth - 1) % outcomes.length === i)
                    )
                  ]
              )
            })),
            VirtualTime.run,
            Effect.runPromise
          )
        }
      ),
      { numRuns: runs(40, 80) }
    ))
})

describe("a duration", () => {
  it.effect("stands for a fixed cadence, and for a total deadline", () =>
    Effect.gen(function*() {
      const job = yield* JobQueue.submit({ model: "m", payload: {} })
      const options = { cadence: "2 seconds", deadline: "9 seconds" } as const
      const begin = yield* Clock.currentTimeMillis
      const error = yield* Effect.flip(JobStream.result(job, options))
      assert(error._tag === "WatchTimeout")
      assert.deepStrictEqual([error.after, (yield* Clock.currentTimeMillis) - begin], [Duration.seconds(9), 9_000])
      const polls = (yield* TestJobQueue.calls).flatMap(({ at, operation }) => operation === "status" ? [at] : [])
      assert.isAtLeast(polls.length, 5)
      for (const pause of polls.slice(2).map((at, i) => at - polls[i + 1]!)) assert.strictEqual(pause, 2_000)
    }).pipe(VirtualTime.run, Effect.provide(TestJobQueue.layer())))

  it("is accepted by the combinators of a policy, which is pipeable, as a deadline is", () => {
    const policy = WatchPolicy.defaultPolicy.pipe(
      WatchPolicy.withCadence("2 seconds"),
      WatchPolicy.withDeadline("10 minutes"),
      WatchPolicy.withDeadline(Deadline.pending("1 minute").pipe(Deadline.cancelPending))
    )
    assert.deepStrictEqual({ ...policy.deadline }, {
      ...Deadline.none,
      request: Duration.seconds(30),
      pending: Duration.minutes(1),
      total: Duration.minutes(10),
      onExpiry: "cancel-pending"
    })
    assert.isTrue(Schedule.isSchedule(policy.cadence))
    // a copy is pipeable too
    assert.isTrue(Schedule.isSchedule({ ...policy }.pipe(WatchPolicy.withCadence("1 second")).cadence))
  })
})
