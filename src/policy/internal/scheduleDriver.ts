/** Drives schedules for their pauses, and leaves the waiting to the caller. @internal */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Schedule from "effect/Schedule"
import { monotonic, wallOffset } from "../../model/internal/time.js"
import type { JobStatus } from "../../model/Job.js"
import { type Cadence, defaultCadence } from "../Cadence.js"
import { clampPause } from "./pauses.js"
import { ask, flatMapEager } from "./schedule.js"

/** @internal */
export interface Pacer<In> {
  /** Returns the next pause; `None` when the schedule has ended. */
  readonly next: (input: In) => Effect.Effect<Option.Option<number>>
}

/**
 * Runs one step of a schedule. Returns its new state and its pause, `undefined` when it has ended.
 *
 * `now` must be a wall clock time, for schedules that use hours and days or compare it with the times of the service,
 * and must not jump between two steps, for those that measure with it: the wall clock at the first step, and from then
 * on the monotonic time (`wallOffset` taken once).
 * @internal
 */
export const step = <In>(
  schedule: Schedule.Schedule<unknown, In>,
  now: number,
  input: In,
  state: unknown
): Effect.Effect<readonly [state: unknown, pause: number | undefined]> =>
  flatMapEager(
    ask(schedule, now, input, state),
    // clocks count whole milliseconds; rounding down would undercut a Retry-After
    ([after, , pause]) => Effect.succeed([after, pause === undefined ? undefined : clampPause(Math.ceil(pause))])
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

/** The state of a cadence that has ended: that of the default cadence, which continues. */
class Ended {
  constructor(readonly state: unknown) {}
}

/** A step of a cadence. @internal */
export interface CadenceStep {
  readonly state: unknown
  readonly pause: number
}

/** Runs one step of a cadence. @internal */
export const nextPause = (
  cadence: Cadence,
  now: number,
  status: JobStatus,
  state: unknown
): Effect.Effect<CadenceStep> =>
  state instanceof Ended
    ? flatMapEager(nextPause(defaultCadence, now, status, state.state), ({ pause, state }) =>
      Effect.succeed({ state: new Ended(state), pause }))
    : flatMapEager(step(cadence, now, status, state), ([state, pause]) =>
      pause === undefined
        ? nextPause(cadence, now, status, new Ended(defaultCadence.initial))
        : Effect.succeed({ state, pause }))

/** @internal */
export const ofCadence = (cadence: Cadence): Effect.Effect<(status: JobStatus) => Effect.Effect<number>> =>
  Clock.clockWith((clock) => {
    const offset = wallOffset(clock)
    let state: unknown = cadence.initial
    return Effect.succeed((status: JobStatus) =>
      Effect.suspend(() =>
        Effect.map(nextPause(cadence, offset + monotonic(clock), status, state), (step) => {
          state = step.state
          return step.pause
        })
      )
    )
  })
