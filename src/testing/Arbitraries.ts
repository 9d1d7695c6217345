/**
 * Arbitraries for property tests: what jobs can go through, what workers can do, and what can go wrong. All of them
 * shrink, and print as what a person would write.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as FastCheck from "effect/FastCheck"
import * as Option from "effect/Option"
import type * as Job from "../model/Job.js"
import type { Operation } from "../model/QueueError.js"
import type * as Transition from "../model/Transition.js"
import * as Fault from "./Fault.js"
import { momentsOf, transitionsOf } from "./internal/history.js"
import * as Lives from "./internal/lives.js"
import * as Worker from "./Worker.js"

const { printed } = Lives

const millis = (max: number): FastCheck.Arbitrary<Duration.Duration> => FastCheck.nat({ max }).map(Duration.millis)

/** The first is what the others shrink to, if it will do. */
const either = <A>(...weighted: ReadonlyArray<readonly [weight: number, FastCheck.Arbitrary<A>]>) =>
  FastCheck.oneof(
    { withCrossShrink: true },
    ...weighted.map(([weight, arbitrary]): FastCheck.WeightedArbitrary<A> => ({ weight, arbitrary }))
  )

const optional = <A>(arbitrary: FastCheck.Arbitrary<A>): FastCheck.Arbitrary<A | undefined> =>
  FastCheck.option(arbitrary, { nil: undefined, freq: 2 })

// -----------------------------------------------------------------------------
// histories
// -----------------------------------------------------------------------------

/**
 * What the service says of a job, and when.
 *
 * @since 0.1.0
 * @category models
 */
export interface Moment {
  /** The time, in milliseconds since the epoch. */
  readonly at: number
  /** The snapshot that the service returns then. */
  readonly status: Job.JobStatus
}

/**
 * What a job went through, until its end or for so far.
 *
 * @since 0.1.0
 * @category models
 */
export interface History {
  /** The reference of the job. */
  readonly job: Job.JobRef
  /** The snapshots after each change, oldest first. */
  readonly moments: ReadonlyArray<Moment>
  /** The steps of the job and all its progress, as a watch that misses nothing reports them. */
  readonly transitions: ReadonlyArray<Transition.Transition>
}

const printInfo = (info: Job.JsonObject): string => {
  const count = Object.keys(info).length
  return count === 0 ? "" : count > 8 ? ` { ${count} entries }` : ` ${JSON.stringify(info)}`
}

const printMoments = (start: number, moments: ReadonlyArray<Moment>): string =>
  moments.map(({ at, status }) => {
    const retries = Option.getOrElse(status.retries, () => 0)
    return `${status._tag}${retries === 0 ? "" : ` (retry ${retries})`} +${at - start}${printInfo(status.info)}`
  }).join(", ")

const startOf = ({ moments }: History): number => moments[0]?.at ?? 0

/**
 * Any history that a job can have: up to four attempts, among other jobs of its model; any end, or none yet; `info` and
 * outputs that hold whatever JSON can; names and times of every kind.
 *
 * @example
 * import { JobStream } from "effect-queue-status"
 * import { Arbitraries } from "effect-queue-status/testing"
 * import { Effect, FastCheck, Stream } from "effect"
 *
 * // whoever sees every change sees every transition
 * const holds = () =>
 *   FastCheck.assert(
 *     FastCheck.asyncProperty(Arbitraries.history, async ({ moments, transitions }) => {
 *       const statuses = Stream.fromIterable(moments.map(({ status }) => status))
 *       const seen = await Effect.runPromise(Stream.runCollect(JobStream.fromStatuses(statuses)))
 *       return seen.length === transitions.length
 *     })
 *   )
 *
 * @since 0.1.0
 * @category histories
 */
export const history: FastCheck.Arbitrary<History> = Lives.life.map(({ end }) => {
  const moments = momentsOf(end)
  const history: History = { job: end.ref, moments, transitions: transitionsOf(moments) }
  return printed(history, () => `{ ${printMoments(startOf(history), moments)} }`)
})

/**
 * A history, and the polls that saw some of it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Polled {
  /** What the job went through. */
  readonly history: History
  /** The polls, oldest first: when each was made, and what the answer was. */
  readonly polls: ReadonlyArray<Moment>
}

/**
 * Any polls of any history: some of its moments, in order, some more than once, and always the last one. With `stale`,
 * any number of answers is about a moment before one that was seen already, as if from a replica that is behind; such an
 * answer may also come last.
 *
 * @example
 * import { JobStream, JobSummary } from "effect-queue-status"
 * import { Arbitraries } from "effect-queue-status/testing"
 * import { Effect, Equal, FastCheck, Stream } from "effect"
 *
 * // however few of the states were seen, the outcome is known
 * const holds = () =>
 *   FastCheck.assert(
 *     FastCheck.asyncProperty(Arbitraries.polled({ stale: true }), async ({ history, polls }) => {
 *       const statuses = Stream.fromIterable(polls.map(({ status }) => status))
 *       const seen = await Effect.runPromise(Stream.runCollect(JobStream.fromStatuses(statuses)))
 *       const summaries = [seen, history.transitions].map((_) => JobSummary.fromTransitions(history.job, _))
 *       return Equal.equals(summaries[0]?.outcome, summaries[1]?.outcome)
 *     })
 *   )
 *
 * @since 0.1.0
 * @category histories
 */
export const polled = (options: { readonly stale?: boolean | undefined } = {}): FastCheck.Arbitrary<Polled> => {
  const poll = FastCheck.record({
    moment: FastCheck.nat({ max: 1_000_000 }),
    delay: Lives.span,
    behind: optional(FastCheck.nat({ max: 1_000_000 }))
  })
  return FastCheck.tuple(history, FastCheck.array(poll, { maxLength: 12 }), poll).map(([history, picks, last]) => {
    const { moments } = history
    const sorted = picks.map((pick) => ({ ...pick, moment: pick.moment % moments.length }))
      .sort((a, b) => a.moment - b.moment)
    const polls: Array<Moment> = []
    let now = startOf(history)
    for (const { behind, delay, moment } of [...sorted, { ...last, moment: moments.length - 1 }]) {
      now = Math.max(now, moments[moment]!.at) + delay
      polls.push({ at: now, status: moments[moment]!.status })
      if (options.stale === true && behind !== undefined) {
        polls.push({ at: now, status: moments[behind % (moment + 1)]!.status })
      }
    }
    const start = startOf(history)
    return printed(
      { history, polls },
      () => `{ ${printMoments(start, moments)} }, seen: { ${printMoments(start, polls)} }`
    )
  })
}

// -----------------------------------------------------------------------------
// workers
// -----------------------------------------------------------------------------

const pause = either(
  [3, FastCheck.constantFrom(0, 1, 1_000, 2_000, 5_000).map(Duration.millis)],
  [2, millis(5_000)],
  [1, millis(20_000)]
)

const maybeLate = (step: FastCheck.Arbitrary<Worker.Step>): FastCheck.Arbitrary<Worker.Step> =>
  FastCheck.tuple(step, FastCheck.nat({ max: 9 })).map(([step, n]) => n === 9 ? Worker.late(step) : step)

const progress = FastCheck.constantFrom(0, 0.25, 0.5, 0.75, 1)

const heartbeat = maybeLate(either(
  [1, pause.map((after) => Worker.heartbeat(after))],
  [3, FastCheck.tuple(pause, progress).map(([after, fraction]) => Worker.progress(after, fraction))],
  [1, FastCheck.tuple(pause, Lives.info).map(([after, info]) => Worker.heartbeat(after, info))]
))

const reason = FastCheck.constantFrom("out of memory", "größe 🦊")

const end = either(
  [6, maybeLate(FastCheck.tuple(pause, Lives.outputs).map(([after, outputs]) => Worker.finish(after, outputs)))],
  [2, maybeLate(FastCheck.tuple(pause, reason).map(([after, reason]) => Worker.fail(after, reason)))],
  [1, FastCheck.constant(Worker.die)]
)

const attempt: FastCheck.Arbitrary<ReadonlyArray<Worker.Step>> = FastCheck.tuple(
  FastCheck.array(heartbeat, { maxLength: 3 }),
  end
).map(([heartbeats, end]) => [...heartbeats, end])

const printStep = (step: Worker.Step): string => {
  if (step._tag === "Die") return "die"
  const after = typeof step.after === "function" ? "some time" : Duration.format(step.after)
  const what = step._tag === "Heartbeat"
    ? `heartbeat${printInfo(step.info)}`
    : step._tag === "Finish"
    ? `finish${printInfo(step.outputs)}`
    : `fail ${JSON.stringify(step.reason)}`
  return `${what} after ${after}${step.late ? ", late" : ""}`
}

interface Scripted {
  readonly script: Worker.Script
  readonly text: string
}

// fast-check shortens an array from its beginning: what can be done without is a later attempt, not one that led to it
const scripted: FastCheck.Arbitrary<Scripted> = FastCheck.array(attempt, { minLength: 1, maxLength: 4 }).map(
  (backwards) => {
    const attempts = backwards.slice().reverse()
    return {
      script: Worker.attempts(...attempts),
      text: `attempts(${attempts.map((steps) => `[${steps.map(printStep).join("; ")}]`).join(", ")})`
    }
  }
)

/**
 * What workers may do: the same for every job, up to four attempts that differ. Each has up to three heartbeats, most
 * with progress, and then finishes, fails or dies; now and then it is too late. No pause is longer than 20 seconds.
 *
 * @since 0.1.0
 * @category workers
 */
export const script: FastCheck.Arbitrary<Worker.Script> = scripted.map(({ script, text }) =>
  printed<Worker.Script>((task, random) => script(task, random), () => text)
)

/**
 * One to three workers with any `script`, whose claims last from 5 to 30 seconds, and who take up to 3 to claim a job.
 *
 * Every job ends: one that has the pool for itself within 8 minutes after it was submitted, the last of several within 8
 * minutes for each of them.
 *
 * @example
 * import { JobQueue, JobStream } from "effect-queue-status"
 * import { Arbitraries, TestJobQueue } from "effect-queue-status/testing"
 * import { Effect, FastCheck, Stream, TestContext } from "effect"
 *
 * const test = Effect.gen(function*() {
 *   const job = yield* JobQueue.submit({ model: "my-org/adder", payload: { a: 1, b: 2 } })
 *   const seen = yield* Stream.runCollect(JobStream.transitions(job))
 *   yield* TestJobQueue.expectTruth(job, seen)
 * })
 *
 * // whatever becomes of a job, a watch tells it as it was
 * const holds = () =>
 *   FastCheck.assert(
 *     FastCheck.asyncProperty(Arbitraries.pool, (workers) =>
 *       test.pipe(
 *         TestJobQueue.runUntilDone,
 *         Effect.provide(TestJobQueue.layer({ workers })),
 *         Effect.provide(TestContext.TestContext),
 *         Effect.runPromise
 *       ))
 *   )
 *
 * @since 0.1.0
 * @category workers
 */
export const pool: FastCheck.Arbitrary<Worker.Pool> = FastCheck.record({
  scripted,
  workers: FastCheck.integer({ min: 1, max: 3 }),
  claimTimeout: either(
    [1, FastCheck.constantFrom(10_000, 30_000, 5_000)],
    [1, FastCheck.integer({ min: 5_000, max: 30_000 })]
  ).map(Duration.millis),
  pickup: either([1, FastCheck.constant(Duration.zero)], [1, millis(3_000)])
}).map(({ claimTimeout, pickup, scripted: { script, text }, workers }) =>
  printed<Worker.Pool>(
    { script, workers, claimTimeout, pickup },
    () =>
      `{ workers: ${workers}, claimTimeout: ${Duration.format(claimTimeout)}, pickup: ${Duration.format(pickup)}, ` +
      `script: ${text} }`
  )
)

// -----------------------------------------------------------------------------
// faults
// -----------------------------------------------------------------------------

const gatewayStatus = FastCheck.constantFrom(503, 500, 502, 504)

const refused = (maxRetryAfter: number): FastCheck.Arbitrary<Fault.Fault> => {
  const retryAfter = optional(millis(maxRetryAfter))
  return either(
    [1, FastCheck.record({ status: gatewayStatus, retryAfter }).map((options) => Fault.unavailable(options))],
    [1, retryAfter.map((retryAfter) => Fault.rateLimited(retryAfter))]
  )
}

const slow = (max: number): FastCheck.Arbitrary<Fault.Fault> => millis(max).map((time) => Fault.delay(time))

const stale = either([1, millis(10_000)], [1, millis(3_600_000)]).map((behind) => Fault.stale(behind))

const lost = (instead: FastCheck.Arbitrary<Fault.Fault>): FastCheck.Arbitrary<Fault.Fault> =>
  either([1, FastCheck.constant(Fault.disconnected)], [1, instead]).map((fault) => Fault.answerLost(fault))

// None of them is an answer to any call, but of the last: that is a job which nobody asked for.
const nonsense = FastCheck.constantFrom(
  "{\"request_id\":",
  "",
  "null",
  "[]",
  "{}",
  "{\"status\":\"done\"}",
  "<html>",
  "{\"error\":{\"message\":\"größe 🦊\"}}"
)

const otherJob = JSON.stringify({ request_id: "another-job", model: "another-model", status: "done", outputs: {} })

const clockSkew = FastCheck.tuple(
  FastCheck.constantFrom(Fault.clockAhead, Fault.clockBehind),
  either([1, millis(1_000)], [1, millis(86_400_000)])
).map(([skew, by]) => skew(by))

const leftOut = FastCheck.uniqueArray(
  FastCheck.constantFrom("createdAt" as const, "claimedAt" as const, "doneAt" as const, "retries" as const),
  { minLength: 1 }
).map((fields) =>
  Fault.changed(
    (status) => ({ ...status, ...Object.fromEntries(fields.map((field) => [field, Option.none()])) }),
    `without ${fields.join(", ")}`
  )
)

const oddAnswer = FastCheck.tuple(
  FastCheck.constantFrom(400, 204, 301, 304, 403, 404, 408, 409, 418, 422, 501, 505, 599),
  nonsense,
  optional(FastCheck.constantFrom("0", "-1", "soon", "1e9", "Wed, 21 Oct 2015 07:28:00 GMT"))
).map(([status, body, retryAfter]) =>
  Fault.answer(status, body, retryAfter === undefined ? {} : { "retry-after": retryAfter })
)

const anyKind = either<Fault.Fault>(
  [
    4,
    FastCheck.constantFrom(
      Fault.disconnected,
      Fault.refused,
      Fault.hang,
      Fault.vanished,
      Fault.unauthorized,
      Fault.truncated,
      Fault.stalled
    )
  ],
  [2, refused(120_000)],
  [1, oddAnswer],
  [1, either([8, nonsense], [1, FastCheck.constant(otherJob)]).map((body) => Fault.malformed(body))],
  [1, slow(60_000)],
  [2, stale],
  [1, FastCheck.constantFrom("paused", "", "DONE").map((status) => Fault.unknownStatus(status))],
  [1, clockSkew],
  [1, leftOut]
)

const operation = either<Operation>(
  [2, FastCheck.constant("status")],
  [1, FastCheck.constantFrom("submit", "cancel", "clear", "metrics")]
)

const fraction = FastCheck.integer({ min: 0, max: 20 }).map((n) => n / 20)

const forEver = FastCheck.constant(Infinity)

const condition = either(
  [2, operation.map((operation) => Fault.on(operation))],
  [
    2,
    FastCheck.tuple(FastCheck.integer({ min: 1, max: 6 }), either([2, FastCheck.nat({ max: 8 })], [1, forEver]))
      .map(([from, more]) => Fault.nth(from, from + more))
  ],
  [1, fraction.map((fraction) => Fault.share(fraction))],
  [
    1,
    FastCheck.tuple(
      FastCheck.nat({ max: 60_000 }),
      either([2, FastCheck.integer({ min: 1, max: 120_000 })], [1, forEver])
    )
      .map(([from, length]) => Fault.during(from, from + length))
  ]
)

/**
 * Anything that can go wrong: up to four faults, each of any kind and with up to three conditions of any kind, in any
 * order. Many of them never pass; what a program makes of those is up to it, but it should make something of them.
 *
 * Not among them are what only a test can know: `Fault.held`, `Fault.where`, and the names of jobs and models.
 *
 * @example
 * import { JobQueue, JobStream } from "effect-queue-status"
 * import { Arbitraries, TestJobQueue } from "effect-queue-status/testing"
 * import { Effect, FastCheck, TestContext } from "effect"
 *
 * const program = JobQueue.submit({ model: "my-org/adder", payload: { a: 1, b: 2 } }).pipe(
 *   Effect.flatMap((job) => JobStream.result(job)),
 *   Effect.ignore
 * )
 *
 * // whatever goes wrong, it ends, by itself and without a defect
 * const holds = () =>
 *   FastCheck.assert(
 *     FastCheck.asyncProperty(Arbitraries.pool, Arbitraries.faults, (workers, faults) =>
 *       program.pipe(
 *         TestJobQueue.runUntilDone,
 *         Effect.provide(TestJobQueue.layer({ workers, faults })),
 *         Effect.provide(TestContext.TestContext),
 *         Effect.runPromise
 *       ))
 *   )
 *
 * @since 0.1.0
 * @category faults
 */
export const faults: FastCheck.Arbitrary<ReadonlyArray<Fault.Fault>> = FastCheck.array(
  FastCheck.tuple(
    either([9, anyKind], [1, lost(anyKind)]),
    FastCheck.array(condition, { maxLength: 3 })
  ).map(([fault, conditions]) => conditions.reduce((fault, add) => add(fault), fault)),
  { maxLength: 4 }
)

/** A fault of polls that passes, by the kind of error that the retry of a watch takes it for. */
interface Passing {
  readonly kind: "transient" | "notFound"
  readonly fault: Fault.Fault
}

const passing = (kind: Passing["kind"]) => (fault: Fault.Fault): Passing => ({ kind, fault })

const passingKind = either<Passing>(
  [
    7,
    either(
      [4, FastCheck.constantFrom(Fault.disconnected, Fault.refused, Fault.hang, Fault.truncated, Fault.stalled)],
      [2, refused(60_000)],
      [1, slow(40_000)],
      [1, lost(refused(60_000))],
      [1, nonsense.map((body) => Fault.malformed(body))],
      [1, FastCheck.constantFrom(Fault.answer(418), Fault.answer(302))]
    ).map(passing("transient"))
  ],
  // a replica that is behind may not know the job yet
  [3, either([1, FastCheck.constant(Fault.vanished)], [1, stale]).map(passing("notFound"))]
)

/*
 * How `Retry.defaultRetry` is not worn out, which gives up at the 9th transient error in a row, and at the 11th that
 * says there is no such job, however many of the others come in between. Each poll meets one error at most, and it is of a
 * kind that one of its faults is of (two delays may add up to a timeout, which is transient as well). So no more of a kind
 * may be met than:
 *
 * - transient: 8. Of the tries that its jitter can bring closest together, at 0, 0.4, 1.2, 2.8, 6, 12.4 and 25.2 seconds,
 *   six fall into a window of 25 seconds, wherever it is; two more are left outside of it.
 * - not found: 10. Of tries half a second apart, six fall into a window of three seconds; four more are left.
 */
const windows = { transient: 25_000, notFound: 3_000 }
const allowed = {
  counted: { transient: 8, notFound: 10 },
  besideWindows: { transient: 2, notFound: 4 }
}

/**
 * Whatever can go wrong with polls (calls of `status`) and passes: up to four faults, each bounded in number or in time.
 *
 * A watch with `WatchPolicy.defaultPolicy` ends as it would without them, only later: with no error of the watch, and
 * what it has seen is the truth (`TestJobQueue.expectTruth`). That holds for every watch of every job of the queue, as
 * long as its jobs end. One job of `Arbitraries.pool` is watched to its end within half an hour.
 *
 * There are errors that may pass, answers that are slow, lost or make no sense, and replicas that are behind. A clock
 * that is wrong never passes, nor does a token that is not accepted, or a status that nobody knows.
 *
 * @example
 * import { JobQueue, JobStream } from "effect-queue-status"
 * import { Arbitraries, TestJobQueue, Worker } from "effect-queue-status/testing"
 * import { Effect, FastCheck, TestContext } from "effect"
 *
 * const workers: Worker.Pool = { script: Worker.always(Worker.finish("1 minute", { sum: 3 })) }
 *
 * const program = JobQueue.submit({ model: "my-org/adder", payload: { a: 1, b: 2 } }).pipe(
 *   Effect.flatMap((job) => JobStream.result(job)),
 *   Effect.map(({ sum }) => sum)
 * )
 *
 * // trouble that passes is none
 * const holds = () =>
 *   FastCheck.assert(
 *     FastCheck.asyncProperty(Arbitraries.passingFaults, async (faults) => {
 *       const test = program.pipe(
 *         TestJobQueue.runUntilDone,
 *         Effect.provide(TestJobQueue.layer({ workers, faults })),
 *         Effect.provide(TestContext.TestContext)
 *       )
 *       return await Effect.runPromise(test) === 3
 *     })
 *   )
 *
 * @since 0.1.0
 * @category faults
 */
export const passingFaults: FastCheck.Arbitrary<ReadonlyArray<Fault.Fault>> = FastCheck.tuple(
  // where the windows are, all of them: a try that comes after one must not fall into the next
  FastCheck.nat({ max: 60_000 }),
  FastCheck.array(
    FastCheck.record({
      passing: passingKind,
      share: optional(fraction),
      first: FastCheck.integer({ min: 1, max: 10 }),
      count: FastCheck.integer({ min: 1, max: 8 }),
      window: optional(FastCheck.tuple(FastCheck.nat({ max: 25_000 }), FastCheck.nat({ max: 25_000 })))
    }),
    { maxLength: 4 }
  )
).map(([start, drafts]) => {
  const left = { ...(drafts.some(({ window }) => window !== undefined) ? allowed.besideWindows : allowed.counted) }
  return drafts.flatMap(({ count, first, passing: { fault, kind }, share, window }) => {
    const some = share === undefined ? Fault.on(fault, "status") : Fault.share(Fault.on(fault, "status"), share)
    if (window !== undefined) {
      const [from, to] = window.map((time) => start + time % windows[kind]).sort((a, b) => a - b)
      return [Fault.during(some, from!, to! + 1)]
    }
    const times = Math.min(count, left[kind])
    left[kind] -= times
    return times === 0 ? [] : [Fault.nth(some, first, first + times - 1)]
  })
})
