/**
 * Schedules that are asked how long to wait, and leave the waiting to the caller.
 *
 * @internal
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Schedule from "effect/Schedule"
import type { JobStatus } from "../../model/Job.js"
import type { QueueError } from "../../model/QueueError.js"
import { type Cadence, defaultCadence } from "../Cadence.js"
import { maxPause, minPause } from "./pauses.js"
import { retryAfterOf } from "./retryAfter.js"
import { ask } from "./schedule.js"
import { monotonic, wallOffset } from "./time.js"

/** @internal */
export interface Pacer<In> {
  /** The next pause; `None` when the schedule has ended. */
  readonly next: (input: In) => Effect.Effect<Option.Option<number>>
}

const shortest = Duration.toMillis(minPause)
const longest = Duration.toMillis(maxPause)

/**
 * A pause between two requests, within the bounds that hold whatever a policy says. `NaN`, as of `Schedule.windowed(0)`,
 * is the shortest.
 */
const clampPause = (millis: number): number => millis > shortest ? Math.min(longest, millis) : shortest

/**
 * One step of a schedule: its new state, and how long it says to wait. `undefined` when it has ended.
 *
 * `now` must be a wall clock time, for schedules that know hours and days or compare it with the times of the service,
 * and must not be set back or forward between two steps, for those that measure with it: the wall clock at the first
 * step, and from then on the monotonic time (`wallOffset` taken once).
 *
 * @internal
 */
export const step = <In>(
  schedule: Schedule.Schedule<unknown, In>,
  now: number,
  input: In,
  state: unknown
): Effect.Effect<readonly [state: unknown, pause: number | undefined]> =>
  Effect.map(
    ask(schedule, now, input, state),
    // clocks count in milliseconds; a little more is no harm, a little less would undercut a Retry-After
    ([after, , pause]) => [after, pause === undefined ? undefined : clampPause(Math.ceil(pause))] as const
  )

/** @internal */
export const make = <In>(schedule: Schedule.Schedule<unknown, In>): Effect.Effect<Pacer<In>> =>
  Clock.clockWith((clock) => {
    const offset = wallOffset(clock)
    let state: unknown = schedule.initial
    return Effect.succeed({
      next: (input: In) =>
        Effect.suspend(() =>
          Effect.map(step(schedule, offset + monotonic(clock), input, state), ([after, pause]) => {
            state = after
            return Option.fromNullable(pause)
          })
        )
    })
  })

/**
 * The pause before another try: no shorter than the service asked for, whatever a policy says.
 *
 * @internal
 */
export const retryPause = (millis: number, error: QueueError): number =>
  clampPause(Math.max(millis, Duration.toMillis(retryAfterOf(error))))

/**
 * The cadence that is followed, and where it is.
 *
 * @internal
 */
export interface CadenceState {
  cadence: Cadence
  state: unknown
}

/**
 * The next pause of a cadence. Once it has ended, the default cadence is followed.
 *
 * @internal
 */
export const nextPause = (current: CadenceState, now: number, status: JobStatus): Effect.Effect<number> =>
  Effect.flatMap(step(current.cadence, now, status, current.state), ([state, pause]) => {
    current.state = state
    if (pause !== undefined) return Effect.succeed(pause)
    current.cadence = defaultCadence
    current.state = defaultCadence.initial
    return nextPause(current, now, status)
  })

/** @internal */
export const ofCadence = (cadence: Cadence): Effect.Effect<(status: JobStatus) => Effect.Effect<number>> =>
  Clock.clockWith((clock) => {
    const offset = wallOffset(clock)
    const current: CadenceState = { cadence, state: cadence.initial }
    return Effect.succeed((status: JobStatus) =>
      Effect.suspend(() => nextPause(current, offset + monotonic(clock), status))
    )
  })
