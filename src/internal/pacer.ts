import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Schedule from "effect/Schedule"
import * as ScheduleDecision from "effect/ScheduleDecision"
import * as ScheduleIntervals from "effect/ScheduleIntervals"
import { type Cadence, defaultCadence, maxPause, minPause } from "../Cadence.js"
import type { JobStatus } from "../Job.js"
import type { QueueError } from "../QueueError.js"
import { retryAfterOf } from "../Retry.js"
import { monotonic, wallOffset } from "./time.js"

/**
 * A schedule that is asked how long to wait, and leaves the waiting to whoever asks: `None` when it has ended.
 *
 * @internal
 */
export interface Pacer<In> {
  readonly next: (input: In) => Effect.Effect<Option.Option<number>>
  readonly reset: Effect.Effect<void>
}

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
  Effect.map(schedule.step(now, input, state), ([after, , decision]) =>
    [
      after,
      ScheduleDecision.isDone(decision)
        ? undefined
        // clocks count in milliseconds; a little more is no harm, a little less would undercut a Retry-After
        : Math.ceil(Math.max(0, ScheduleIntervals.start(decision.intervals) - now))
    ] as const)

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
        ),
      reset: Effect.sync(() => {
        state = schedule.initial
      })
    })
  })

/**
 * A pause of a watch, within the bounds that hold whatever a policy says.
 *
 * @internal
 */
export const clampPause = (millis: number): number =>
  Math.min(Duration.toMillis(maxPause), Math.max(Duration.toMillis(minPause), millis))

/**
 * The pause before another try: no shorter than the service asked for, whatever a policy says.
 *
 * @internal
 */
export const retryPause = (millis: number, error: QueueError): number =>
  Math.max(clampPause(millis), Duration.toMillis(retryAfterOf(error)))

/**
 * Where a cadence is, and where the default one is that takes over when it ends.
 *
 * @internal
 */
export interface Beat {
  state: unknown
  spare: unknown
}

/**
 * The next pause of a cadence. One that has ended does not end the watch: the default cadence takes over.
 *
 * @internal
 */
export const nextPause = (cadence: Cadence, beat: Beat, now: number, status: JobStatus): Effect.Effect<number> =>
  Effect.flatMap(step(cadence, now, status, beat.state), ([state, pause]) => {
    beat.state = state
    return pause === undefined
      ? Effect.map(step(defaultCadence, now, status, beat.spare), ([spare, pause = 0]) => {
        beat.spare = spare
        return clampPause(pause)
      })
      : Effect.succeed(clampPause(pause))
  })

/** @internal */
export const ofCadence = (cadence: Cadence): Effect.Effect<(status: JobStatus) => Effect.Effect<number>> =>
  Clock.clockWith((clock) => {
    const offset = wallOffset(clock)
    const beat: Beat = { state: cadence.initial, spare: defaultCadence.initial }
    return Effect.succeed((status: JobStatus) =>
      Effect.suspend(() => nextPause(cadence, beat, offset + monotonic(clock), status))
    )
  })
