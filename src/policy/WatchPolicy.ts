/**
 * How a job is watched, as one value: when to poll, when to try again, when to give up, and what to make of a state that
 * nobody knows.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import { dual } from "effect/Function"
import * as Pipeable from "effect/Pipeable"
import { defaultCadence } from "./Cadence.js"
import type { Cadence } from "./Cadence.js"
import * as Deadline from "./Deadline.js"
import { toCadence, toDeadline } from "./internal/inputs.js"
import { defaultRetry } from "./Retry.js"
import type { Retry } from "./Retry.js"

/**
 * How a job is watched, as one value.
 *
 * @since 0.1.0
 * @category models
 */
export interface WatchPolicy extends Pipeable.Pipeable {
  /** When to poll next, after a poll that was answered. */
  readonly cadence: Cadence
  /** When to try again, after a poll that was not answered. */
  readonly retry: Retry
  /** When to give up. */
  readonly deadline: Deadline.Deadline
  /**
   * What to do about a state that this version of the library does not know: `fail` with `UnrecognizedStatus`; `ignore`
   * the snapshot, and poll on at the cadence; or take it for the `end` of the job.
   */
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
  deadline: Deadline.min(Deadline.request(Duration.seconds(30)), Deadline.total(Duration.hours(24))),
  unrecognized: "fail",
  // its own, so that a spread keeps it
  pipe: Pipeable.Prototype.pipe
}

/**
 * The policy of an app: what every watch follows that is told nothing else. `defaultPolicy` unless the app says so.
 *
 * @example
 * import { Cadence, Deadline, WatchPolicy } from "effect-queue-status"
 * import { Layer } from "effect"
 *
 * const Policy = Layer.succeed(
 *   WatchPolicy.Default,
 *   WatchPolicy.defaultPolicy.pipe(
 *     WatchPolicy.withCadence(Cadence.byPhase({ pending: Cadence.fixed("10 seconds"), running: Cadence.fixed("1 second") })),
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
 * The policy with another cadence. A duration stands for `Cadence.fixed`.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withCadence: {
  (cadence: Cadence | Duration.DurationInput): (self: WatchPolicy) => WatchPolicy
  (self: WatchPolicy, cadence: Cadence | Duration.DurationInput): WatchPolicy
} = dual(2, (self: WatchPolicy, cadence: Cadence | Duration.DurationInput): WatchPolicy => ({
  ...self,
  cadence: toCadence(cadence)
}))

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
 * The policy with one more deadline: of each clock, the sooner counts. A duration stands for `Deadline.total`. To allow
 * more time than the policy does, set its `deadline` anew.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withDeadline: {
  (deadline: Deadline.Deadline | Duration.DurationInput): (self: WatchPolicy) => WatchPolicy
  (self: WatchPolicy, deadline: Deadline.Deadline | Duration.DurationInput): WatchPolicy
} = dual(2, (self: WatchPolicy, deadline: Deadline.Deadline | Duration.DurationInput): WatchPolicy => ({
  ...self,
  deadline: Deadline.min(self.deadline, toDeadline(deadline))
}))
