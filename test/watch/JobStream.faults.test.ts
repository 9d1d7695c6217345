import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FastCheck from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import type * as Job from "../../src/model/Job.js"
import * as Transition from "../../src/model/Transition.js"
import * as Cadence from "../../src/policy/Cadence.js"
import * as Deadline from "../../src/policy/Deadline.js"
import { minPause } from "../../src/policy/internal/pauses.js"
import * as WatchPolicy from "../../src/policy/WatchPolicy.js"
import * as JobQueue from "../../src/queue/JobQueue.js"
import { Arbitraries, Fault, TestJobQueue, VirtualTime, Worker } from "../../src/testing/index.js"
import * as Expectation from "../../src/testing/internal/expectation.js"
import * as JobStream from "../../src/watch/JobStream.js"
import type * as JobWatcher from "../../src/watch/JobWatcher.js"
import { atEpoch } from "../fixtures/inQueue.js"
import { runs } from "../fixtures/runs.js"
import { tally } from "../fixtures/tally.js"

// how long it may take to cancel the job, once a deadline has passed
const cancelPatience = 30_000

/** A queue of its own, in a time that begins with it. */

const policies: { readonly [name: string]: WatchPolicy.WatchPolicy } = {
  default: WatchPolicy.withDeadline(WatchPolicy.defaultPolicy, Deadline.total("4 minutes")),
  impatient: {
    ...WatchPolicy.defaultPolicy,
    deadline: {
      ...Deadline.none,
      request: Duration.seconds(3),
      pending: Duration.seconds(20),
      stalled: Duration.seconds(15),
      total: Duration.minutes(2),
      onExpiry: "cancel-pending"
    },
    unrecognized: "end"
  },
  // a careless policy: no pauses at all, and endless retries
  hot: {
    ...WatchPolicy.defaultPolicy,
    cadence: Cadence.adaptive({ floor: 0, cap: "1 second" }),
    retry: Schedule.forever,
    deadline: { ...Deadline.none, request: Duration.seconds(2), total: Duration.seconds(8) },
    unrecognized: "ignore"
  }
}

/** What the faults leave of the history: the steps and their times, the steps alone, or (without `retries`) neither. */
const left = (faults: ReadonlyArray<Fault.Fault>): "all" | "steps" | "little" => {
  const has = (text: string) => faults.some(({ label }) => label.includes(text))
  return has("retries") ? "little" : has("clock ") || has("without ") ? "steps" : "all"
}

const isTransition = (event: JobStream.WatchEvent): event is Transition.Transition =>
  event._tag !== "Trouble" && event._tag !== "Recovered"

const isStep = ({ _tag }: Transition.Transition): boolean => _tag !== "Progressed"

/** Asserts that the transitions that were seen are the beginning of the history. */
const expectBeginningOfHistory = (
  history: ReadonlyArray<Transition.Transition>,
  seen: ReadonlyArray<Transition.Transition>,
  { job, startedAt, times }: { readonly job: Job.JobRef; readonly startedAt: number; readonly times: boolean }
) => {
  const steps = history.filter(isStep).slice(0, seen.filter(isStep).length)
  const beginning = [...steps, ...history.filter((transition) => !isStep(transition))]
  const reported = times ? seen : seen.map((transition) => ({ ...transition, at: Option.none() }))
  assert.strictEqual(Option.getOrElse(Expectation.ofTruth(job, startedAt, beginning, reported), () => ""), "")
}

/** Asserts the minimum pause between polls, for any policy. */
const expectPauses = (calls: ReadonlyArray<TestJobQueue.Call>) => {
  const polls = calls.filter(({ operation }) => operation === "status")
  polls.slice(1).forEach(({ at }, i) => {
    assert.isAtLeast(at - polls[i]!.at, Duration.toMillis(minPause), `poll ${i + 2}`)
  })
}

const watched = (policy: WatchPolicy.WatchPolicy, faults: ReadonlyArray<Fault.Fault>, interruptAfter?: number) =>
  Effect.gen(function*() {
    const queue = yield* TestJobQueue.TestJobQueue
    const job = yield* Effect.orDie(JobQueue.submit({ model: "my-org/video-generator", payload: { prompt: "a cat" } }))
    for (const fault of faults) yield* queue.inject(fault)

    const reported: Array<JobStream.WatchEvent> = []
    const fiber = yield* Effect.fork(Stream.runForEach(JobStream.events(job, policy), (event) =>
      Effect.sync(() => {
        reported.push(event)
      })))
    if (interruptAfter !== undefined) {
      yield* Effect.sleep(interruptAfter)
      yield* Fiber.interrupt(fiber)
    }
    const exit = yield* Fiber.await(fiber)
    const now = yield* Clock.currentTimeMillis

    // no call is in flight any more, and none is sent later
    yield* Effect.sleep("2 days")
    const calls = yield* queue.calls
    for (const { end, nth, operation } of calls) assert.isAtMost(end!.at, now, `${operation} ${nth}`)

    expectPauses(calls)
    const seen = reported.filter(isTransition).filter(({ _tag }) => _tag !== "Unrecognized")
    if (left(faults) !== "little") {
      const { startedAt } = queue
      const history = yield* queue.transitions(job)
      expectBeginningOfHistory(history, seen, { job, startedAt, times: left(faults) === "all" })
    }
    return { calls, end: now - queue.startedAt, exit, reported }
  })

const run = <A>(
  workers: Worker.Pool,
  effect: Effect.Effect<A, never, JobQueue.JobQueue | JobWatcher.JobWatcher | TestJobQueue.TestJobQueue>
): Promise<A> =>
  effect.pipe(
    VirtualTime.run,
    Effect.provide(atEpoch({ workers })),
    Effect.runPromise
  )

/** Any faults; in half of the cases also a lagging replica, which gives every other response. */
const faultPlan = FastCheck.tuple(
  Arbitraries.faults,
  FastCheck.option(FastCheck.integer({ min: 1, max: 20_000 }), { nil: undefined, freq: 1 })
).map(([faults, behind]) =>
  behind === undefined ? faults : [...faults, Fault.withProbability(Fault.stale(behind), 0.5)]
)

const policyName = FastCheck.constantFrom(...Object.keys(policies))

describe("with any faults", () => {
  it("a watch ends in time, with the end of the job or a typed error, and reports nothing that did not happen", async () => {
    const { met, note } = tally()
    await FastCheck.assert(
      FastCheck.asyncProperty(Arbitraries.pool, faultPlan, policyName, async (workers, faults, name) => {
        const policy = policies[name]!
        const { end, exit, reported } = await run(workers, watched(policy, faults))
        const { onExpiry, request, total } = policy.deadline
        const millis = Duration.toMillis(total) + Duration.toMillis(request)
        assert.isAtMost(end, millis + (onExpiry === "leave" ? 0 : cancelPatience))
        if (Exit.isSuccess(exit)) {
          const last = reported.at(-1)
          assert(last !== undefined && isTransition(last) && Transition.isTerminal(last))
          note("the end of the job")
        } else {
          assert(exit.cause._tag === "Fail", Cause.pretty(exit.cause))
          note("after" in exit.cause.error ? "a deadline" : "an error")
        }
        note(left(faults))
      }),
      { numRuns: runs(50, 100) }
    )
    met("the end of the job", "a deadline", "an error")
    met("all", "steps", "little")
  })

  it("an interruption ends the request in flight, and no request follows", async () => {
    const { met, note } = tally()
    await FastCheck.assert(
      FastCheck.asyncProperty(
        Arbitraries.pool,
        faultPlan,
        policyName,
        FastCheck.nat({ max: 60_000 }),
        async (workers, faults, name, time) => {
          const { calls, end, exit } = await run(workers, watched(policies[name]!, faults, time))
          assert.isAtMost(end, time)
          if (!Exit.isInterrupted(exit)) return
          note(calls.at(-1)!.end!.outcome === "interrupted" ? "a request" : "a pause")
        }
      ),
      { numRuns: runs(50, 80) }
    )
    met("a request", "a pause")
  })

  it("a response that can have no body is an unexpected response", async () => {
    for (const status of [204, 205, 304]) {
      const { exit } = await run(
        { script: Worker.always(Worker.finish("1 second")) },
        watched(WatchPolicy.defaultPolicy, [Fault.truncated, Fault.answer(status, "no body")])
      )
      assert(Exit.isFailure(exit) && exit.cause._tag === "Fail")
      assert.strictEqual(exit.cause.error._tag, "UnexpectedResponse")
    }
  })

  it("a watch survives an outage of a minute, with any responses", async () => {
    const outages = [
      Fault.unavailable({ status: 502 }),
      Fault.disconnected,
      Fault.malformed(""),
      Fault.malformed("<html><body>Sign in to the guest network</body></html>"),
      Fault.malformed(`{"request_id":`),
      Fault.malformed({ maintenance: true }),
      Fault.answer(204),
      Fault.answer(302, "<html>moved</html>", { location: "https://example.com/maintenance" }),
      Fault.answer(418, { message: "a proxy of ours" })
    ]
    for (const outage of outages) {
      const outputs = await run(
        { script: Worker.always(Worker.finish("90 seconds", { sum: 3 })) },
        Effect.gen(function*() {
          const job = yield* JobQueue.submit({ model: "my-org/video-generator", payload: {} })
          yield* TestJobQueue.inject(outage.pipe(Fault.on("status"), Fault.during("5 seconds", "65 seconds")))
          return yield* JobStream.result(job)
        }).pipe(Effect.orDie)
      )
      assert.deepStrictEqual(outputs, { sum: 3 }, String(outage))
    }
  })

  it("a result is that of the job, or a typed error", async () => {
    await FastCheck.assert(
      FastCheck.asyncProperty(Arbitraries.pool, faultPlan, policyName, (workers, faults, name) =>
        run(
          workers,
          Effect.gen(function*() {
            const queue = yield* TestJobQueue.TestJobQueue
            const job = yield* Effect.orDie(JobQueue.submit({ model: "my-org/video-generator", payload: {} }))
            for (const fault of faults) yield* queue.inject(fault)
            const exit = yield* Effect.exit(JobStream.result(job, policies[name]!))
            const end = (yield* queue.transitions(job)).find(({ _tag }) => _tag === "Completed")
            if (Exit.isSuccess(exit)) {
              assert(end?._tag === "Completed")
              assert.deepStrictEqual(JSON.stringify(exit.value), JSON.stringify(end.outputs))
            } else assert(exit.cause._tag === "Fail", Cause.pretty(exit.cause))
          })
        )),
      { numRuns: runs(30, 60) }
    )
  })
})
