/** Creates schedules, and runs them step by step. @internal */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schedule from "effect/Schedule"
import * as ScheduleDecision from "effect/ScheduleDecision"
import * as ScheduleInterval from "effect/ScheduleInterval"
import * as ScheduleIntervals from "effect/ScheduleIntervals"

/**
 * A step of a schedule: its next state, its output, and the pause in milliseconds, `undefined` at its end.
 * @internal
 */
export type Step<S, Out> = readonly [state: S, out: Out, pause: number | undefined]

/**
 * The same as `Effect.flatMap`. An effect that has succeeded already takes no turn of the run loop: most steps of most
 * schedules have, and there is one for each poll.
 * @internal
 */
export const flatMapEager = <A, E, B, E2>(
  self: Effect.Effect<A, E>,
  f: (a: A) => Effect.Effect<B, E2>
): Effect.Effect<B, E | E2> =>
  // the exit is the effect itself, so it has a value of the same type
  Exit.isExit(self) && Exit.isSuccess(self) ? f(self.value as A) : Effect.flatMap(self, f)

/** Creates a schedule from a function that returns the next pause. @internal */
export const make = <S, In, Out>(
  initial: S,
  step: (now: number, input: In, state: S) => Effect.Effect<Step<S, Out>>
): Schedule.Schedule<Out, In> =>
  Schedule.makeWithState(
    initial,
    (now, input: In, state) =>
      flatMapEager(step(now, input, state), ([state, out, pause]) =>
        Effect.succeed([
          state,
          out,
          pause === undefined
            ? ScheduleDecision.done
            : ScheduleDecision.continueWith(ScheduleInterval.after(now + pause))
        ]))
  )

/** The step of a schedule. A user's function may throw instead of returning an effect. */
const stepOf = <Out, In>(
  schedule: Schedule.Schedule<Out, In>,
  now: number,
  input: In,
  state: unknown
): ReturnType<typeof schedule.step> => {
  try {
    return schedule.step(now, input, state)
  } catch (defect) {
    return Effect.die(defect)
  }
}

/** Runs one step of a schedule. @internal */
export const ask = <Out, In>(
  schedule: Schedule.Schedule<Out, In>,
  now: number,
  input: In,
  state: unknown
): Effect.Effect<Step<unknown, Out>> =>
  flatMapEager(stepOf(schedule, now, input, state), ([state, out, decision]) =>
    Effect.succeed([
      state,
      out,
      ScheduleDecision.isDone(decision) ? undefined : ScheduleIntervals.start(decision.intervals) - now
    ]))
