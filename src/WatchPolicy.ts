/**
 * How a job is watched, as one value: when to poll, when to try again, when to give up, and what to make of a state that
 * nobody knows.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import { defaultCadence } from "./Cadence.js"
import type { Cadence } from "./Cadence.js"
import * as Deadline from "./Deadline.js"
import * as internal from "./internal/simulatePolicy.js"
import { defaultRetry } from "./Retry.js"
import type { Retry } from "./Retry.js"

/**
 * - `cadence`: when to poll next, after a poll that was answered.
 * - `retry`: when to try again, after one that was not.
 * - `deadline`: when to give up.
 * - `unrecognized`: what to make of a state that this version of the library does not know. `fail` with
 *   `UnrecognizedStatus`; `ignore` the snapshot, and poll on at the cadence; or take it for the `end` of the job.
 *
 * @since 0.1.0
 * @category models
 */
export interface WatchPolicy {
  readonly cadence: Cadence
  readonly retry: Retry
  readonly deadline: Deadline.Deadline
  readonly unrecognized: "fail" | "ignore" | "end"
}

/**
 * `Cadence.defaultCadence`; `Retry.defaultRetry`; 30 seconds for a request and 24 hours for a watch, after which the job
 * is left alone; no guesses about states that are not known. How long a job may wait or run without a sign is the
 * business of its model: add `Deadline.pending` and `Deadline.stalled` where you know it.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultPolicy: WatchPolicy = {
  cadence: defaultCadence,
  retry: defaultRetry,
  deadline: Deadline.sooner(Deadline.request(Duration.seconds(30)), Deadline.total(Duration.hours(24))),
  unrecognized: "fail"
}

/**
 * The policy of an app: what every watch follows that is told nothing else. `defaultPolicy` unless the app says so.
 *
 * @example
 * import { Cadence, Deadline, WatchPolicy } from "effect-queue-status"
 * import { Layer, pipe } from "effect"
 *
 * const Policy = Layer.succeed(
 *   WatchPolicy.Default,
 *   pipe(
 *     WatchPolicy.defaultPolicy,
 *     WatchPolicy.withCadence(Cadence.fixed("2 seconds")),
 *     WatchPolicy.withDeadline(Deadline.stalled("10 minutes"))
 *   )
 * )
 *
 * @since 0.1.0
 * @category context
 */
export class Default extends Context.Reference<Default>()("effect-queue-status/WatchPolicy/Default", {
  defaultValue: (): WatchPolicy => defaultPolicy
}) {}

/**
 * The policy with another cadence.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withCadence: {
  (cadence: Cadence): (self: WatchPolicy) => WatchPolicy
  (self: WatchPolicy, cadence: Cadence): WatchPolicy
} = dual(2, (self: WatchPolicy, cadence: Cadence): WatchPolicy => ({ ...self, cadence }))

/**
 * The policy with another retry.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withRetry: {
  (retry: Retry): (self: WatchPolicy) => WatchPolicy
  (self: WatchPolicy, retry: Retry): WatchPolicy
} = dual(2, (self: WatchPolicy, retry: Retry): WatchPolicy => ({ ...self, retry }))

/**
 * The policy with one more deadline: of each clock, the sooner counts. To allow more time than the policy does, set its
 * `deadline` anew.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withDeadline: {
  (deadline: Deadline.Deadline): (self: WatchPolicy) => WatchPolicy
  (self: WatchPolicy, deadline: Deadline.Deadline): WatchPolicy
} = dual(2, (self: WatchPolicy, deadline: Deadline.Deadline): WatchPolicy => ({
  ...self,
  deadline: Deadline.sooner(self.deadline, deadline)
}))

// -----------------------------------------------------------------------------
// simulation
// -----------------------------------------------------------------------------

/**
 * One job as it would go if nobody looked: how long it waits in the queue, how long it runs, and what its worker reports
 * as `info.progress` when a given fraction of the run, from 0 to 1, is over.
 *
 * @since 0.1.0
 * @category simulation
 */
export interface SimulatedJob {
  readonly wait: Duration.DurationInput
  readonly run: Duration.DurationInput
  readonly progress?: ((fraction: number) => number | undefined) | undefined
}

/**
 * What jobs a model has: an effect that makes one of them, by chance, which it is to take from Effect's `Random`.
 *
 * @example
 * import { WatchPolicy } from "effect-queue-status"
 * import { Effect, Random } from "effect"
 *
 * const thumbnails: WatchPolicy.Workload = {
 *   name: "thumbnails",
 *   job: Effect.map(Random.nextRange(200, 800), (run) => ({ wait: "1 second", run }))
 * }
 *
 * @since 0.1.0
 * @category simulation
 */
export interface Workload {
  readonly name: string
  readonly job: Effect.Effect<SimulatedJob>
}

/**
 * What a policy costs, and what it is worth.
 *
 * - `pollsPerJob`: requests a job, on average; the one that sees the end is one of them.
 * - `meanStaleness`, `p95Staleness`: the time from the end of a job until a poll sees it, on average and for all but one
 *   job in twenty. Infinite when no end was seen at all.
 * - `expired`: of the `jobs`, those whose end was not seen, since a deadline of the policy passed first. Their polls
 *   count.
 *
 * @since 0.1.0
 * @category simulation
 */
export interface Simulation {
  readonly jobs: number
  readonly expired: number
  readonly pollsPerJob: number
  readonly meanStaleness: Duration.Duration
  readonly p95Staleness: Duration.Duration
}

/**
 * Runs a policy against made-up jobs, thousands a second: its cadence and the deadlines of the watch, in virtual time.
 * Each watch begins with its job, and every request is answered at once.
 *
 * It draws 1,000 jobs unless told otherwise, always the same ones for the same seed, whatever the policy.
 *
 * @example
 * import { WatchPolicy } from "effect-queue-status"
 * import { Duration, Effect } from "effect"
 *
 * // in a test: at most 12 requests a job, and 19 of 20 results are seen within 5 seconds
 * const check = Effect.gen(function*() {
 *   const { p95Staleness, pollsPerJob } = yield* WatchPolicy.simulate(
 *     WatchPolicy.defaultPolicy,
 *     WatchPolicy.workloads.lognormal,
 *     { jobs: 5_000, seed: "ci" }
 *   )
 *   return pollsPerJob <= 12 && Duration.lessThanOrEqualTo(p95Staleness, "5 seconds")
 * })
 *
 * @since 0.1.0
 * @category simulation
 */
export const simulate: (
  policy: WatchPolicy,
  workload: Workload,
  options?: { readonly jobs?: number | undefined; readonly seed?: number | string | undefined }
) => Effect.Effect<Simulation> = internal.simulate

/**
 * The usual shapes.
 *
 * - `lognormal`: a wait of about 3 seconds, then a run of about 30 that is rarely less than 10 or more than 100.
 * - `video`: a wait of about 5 seconds, then a run of about 90 that reports its progress in fifty steps, after a
 *   twentieth of the time without any.
 * - `bimodal`: a wait of about 1 second; then seven jobs of ten run for about 4 seconds, the others for about a minute.
 * - `heavyTailed`: a wait of about 2 seconds, then a run of 5 seconds at least, and with no mean to speak of: one of a
 *   hundred takes longer than 100 seconds, one of ten thousand longer than half an hour.
 *
 * @since 0.1.0
 * @category simulation
 */
export const workloads: {
  readonly lognormal: Workload
  readonly video: Workload
  readonly bimodal: Workload
  readonly heavyTailed: Workload
} = internal.workloads
