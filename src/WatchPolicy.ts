/**
 * How a job is watched, as one value: when to poll, when to try again, how long a poll may take, and what to make of a
 * state that nobody knows.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import { defaultCadence } from "./Cadence.js"
import type { Cadence } from "./Cadence.js"
import { defaultRetry } from "./Retry.js"
import type { Retry } from "./Retry.js"

/**
 * - `cadence`: when to poll next, after a poll that was answered.
 * - `retry`: when to try again, after one that was not.
 * - `requestTimeout`: how long one try may take, headers and body.
 * - `unrecognized`: what to make of a state that this version of the library does not know. `fail` with
 *   `UnrecognizedStatus`; `ignore` the snapshot, and poll on at the cadence; or take it for the `end` of the job.
 *
 * @since 0.1.0
 * @category models
 */
export interface WatchPolicy {
  readonly cadence: Cadence
  readonly retry: Retry
  readonly requestTimeout: Duration.DurationInput
  readonly unrecognized: "fail" | "ignore" | "end"
}

/**
 * `Cadence.defaultCadence`, `Retry.defaultRetry`, 30 seconds for a try, and no guesses about states that are not known.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultPolicy: WatchPolicy = {
  cadence: defaultCadence,
  retry: defaultRetry,
  requestTimeout: Duration.seconds(30),
  unrecognized: "fail"
}
