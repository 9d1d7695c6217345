import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Schedule from "effect/Schedule"
import * as ScheduleDecision from "effect/ScheduleDecision"
import * as ScheduleIntervals from "effect/ScheduleIntervals"
import { type Cadence, defaultCadence, maxPause, minPause } from "../Cadence.js"
import type { JobStatus } from "../Job.js"

/**
 * A schedule that is asked how long to wait, and leaves the waiting to whoever asks: `None` when it has ended.
 *
 * @internal
 */
export interface Pacer<In> {
  readonly next: (input: In) => Effect.Effect<Option.Option<number>>
  readonly reset: Effect.Effect<void>
}

/** @internal */
export const make = <In>(schedule: Schedule.Schedule<unknown, In>): Effect.Effect<Pacer<In>> =>
  Effect.sync(() => {
    let state: unknown = schedule.initial
    return {
      next: (input) =>
        Effect.flatMap(Clock.currentTimeMillis, (now) =>
          Effect.map(schedule.step(now, input, state), ([after, , decision]) => {
            state = after
            return ScheduleDecision.isDone(decision)
              ? Option.none()
              // clocks count in milliseconds; a little more is no harm, a little less would undercut a Retry-After
              : Option.some(Math.ceil(Math.max(0, ScheduleIntervals.start(decision.intervals) - now)))
          })),
      reset: Effect.sync(() => {
        state = schedule.initial
      })
    }
  })

/**
 * A pause of a watch, within the bounds that hold whatever a policy says.
 *
 * @internal
 */
export const clampPause = (millis: number): number =>
  Math.min(Duration.toMillis(maxPause), Math.max(Duration.toMillis(minPause), millis))

/**
 * The pauses of a cadence. One that has ended does not end the watch: the default cadence takes over.
 *
 * @internal
 */
export const ofCadence = (cadence: Cadence): Effect.Effect<(status: JobStatus) => Effect.Effect<number>> =>
  Effect.zipWith(make(cadence), make(defaultCadence), (pacer, spare) => (status) =>
    Effect.map(
      Effect.flatMap(
        pacer.next(status),
        Option.match({ onSome: Effect.succeedSome, onNone: () => spare.next(status) })
      ),
      (pause) => clampPause(Option.getOrElse(pause, () => 0))
    ))
