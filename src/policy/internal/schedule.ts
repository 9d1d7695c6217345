/**
 * Creates schedules, and runs them step by step.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as ScheduleDecision from "effect/ScheduleDecision"
import * as ScheduleInterval from "effect/ScheduleInterval"
import * as ScheduleIntervals from "effect/ScheduleIntervals"

/**
 * A step of a schedule: its next state, its output, and the pause in milliseconds, `undefined` at its end.
 *
 * @internal
 */
export type Step<S, Out> = readonly [state: S, out: Out, pause: number | undefined]

/**
 * Creates a schedule from a function that returns the next pause.
 *
 * @internal
 */
export const make = <S, In, Out>(
  initial: S,
  step: (now: number, input: In, state: S) => Effect.Effect<Step<S, Out>>
): Schedule.Schedule<Out, In> =>
  Schedule.makeWithState(
    initial,
    (now, input: In, state) =>
      Effect.map(step(now, input, state), ([state, out, pause]) =>
        [
          state,
          out,
          pause === undefined
            ? ScheduleDecision.done
            : ScheduleDecision.continueWith(ScheduleInterval.after(now + pause))
        ] as const)
  )

/**
 * Runs one step of a schedule.
 *
 * @internal
 */
export const ask = <Out, In>(
  schedule: Schedule.Schedule<Out, In>,
  now: number,
  input: In,
  state: unknown
): Effect.Effect<Step<unknown, Out>> =>
  Effect.map(schedule.step(now, input, state), ([state, out, decision]) =>
    [
      state,
      out,
      ScheduleDecision.isDone(decision) ? undefined : ScheduleIntervals.start(decision.intervals) - now
    ] as const)
