/**
 * How a job is watched, as one value: when to poll, when to try again, and how long a poll may take.
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
 *
 * @since 0.1.0
 * @category models
 */
export interface WatchPolicy {
  readonly cadence: Cadence
  readonly retry: Retry
  readonly requestTimeout: Duration.DurationInput
}

/**
 * `Cadence.defaultCadence`, `Retry.defaultRetry`, and 30 seconds for a try.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultPolicy: WatchPolicy = {
  cadence: defaultCadence,
  retry: defaultRetry,
  requestTimeout: Duration.seconds(30)
}
