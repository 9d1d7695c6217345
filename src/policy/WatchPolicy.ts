/**
 * The policy of a watch as one value: when to poll, when to retry, its deadlines, and the handling of unknown states.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import { dual } from "effect/Function"
import * as Pipeable from "effect/Pipeable"
import { type Cadence, defaultCadence } from "./Cadence.js"
import * as Deadline from "./Deadline.js"
import { toCadence, toDeadline } from "./internal/inputs.js"
import { defaultRetry, type Retry } from "./Retry.js"

/**
 * The policy of a watch.
 *
 * @since 0.1.0
 * @category models
 */
export interface WatchPolicy extends Pipeable.Pipeable {
  /** When to poll next, after a poll that succeeded. */
  readonly cadence: Cadence
  /** When to try again, after a poll that failed. */
  readonly retry: Retry
  /** When to give up. */
  readonly deadline: Deadline.Deadline
  /**
   * The handling of a state that this version of the library does not know: `fail` with `UnrecognizedStatus`, `ignore`
   * the snapshot and continue to poll at the cadence, or treat it as the `end` of the job.
   */
  readonly unrecognized: "fail" | "ignore" | "end"
}

/**
 * The default policy: `Cadence.defaultCadence`; `Retry.defaultRetry`; 30 seconds for a request and 24 hours for a
 * watch, after which the job is left alone; unknown states fail. How long a job may wait, or run without a change,
 * depends on its model: add `Deadline.pending` and `Deadline.stalled` where you know it.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultPolicy: WatchPolicy = {
  cadence: defaultCadence,
  retry: defaultRetry,
  deadline: Deadline.min(Deadline.request(Duration.seconds(30)), Deadline.total(Duration.hours(24))),
  unrecognized: "fail",
  // an own property, so that a spread keeps it
  pipe: Pipeable.Prototype.pipe
}

/**
 * The policy of an app, for watches that do not override it. Defaults to `defaultPolicy`.
 *
 * @example
 * import { Cadence, Deadline, WatchPolicy } from "effect-queue-status"
 * import { Layer } from "effect"
 *
 * const Policy = Layer.succeed(
 *   WatchPolicy.Default,
 *   WatchPolicy.defaultPolicy.pipe(
 *     WatchPolicy.withCadence(
 *       Cadence.byPhase({ pending: Cadence.fixed("10 seconds"), running: Cadence.fixed("1 second") })
 *     ),
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
 * Replaces the cadence. A duration stands for `Cadence.fixed`.
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
 * Replaces the retry policy.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withRetry: {
  (retry: Retry): (self: WatchPolicy) => WatchPolicy
  (self: WatchPolicy, retry: Retry): WatchPolicy
} = dual(2, (self: WatchPolicy, retry: Retry): WatchPolicy => ({ ...self, retry }))

/**
 * Adds a deadline: the sooner of each clock applies. A duration stands for `Deadline.total`. To allow more time than
 * the policy does, replace its `deadline`.
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
