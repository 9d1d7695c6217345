/** Compares what a test expects of a queue with what happened. @internal */
import * as Data from "effect/Data"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import { format } from "../../model/Job.js"
import type { JobRef } from "../../model/Job.js"
import type { Transition } from "../../model/Transition.js"
import { diffLines, same } from "./diff.js"
import type { Call } from "./fault.js"

/** @internal */
export class ExpectationFailed extends Data.TaggedError("ExpectationFailed")<{ readonly message: string }> {}

/**
 * Creates an error with the stack of the line that states the expectation. An expectation may be checked several times:
 * each failure is a new error.
 *
 * @internal
 */
export const failed = (message: string, stated: string): ExpectationFailed => {
  const error = new ExpectationFailed({ message })
  const frames = stated.indexOf("\n    at ")
  if (frames >= 0) error.stack = `${error.name}: ${message}${stated.slice(frames)}`
  return error
}

/** What the queue in memory has recorded. @internal */
export interface Log {
  /** In milliseconds since the epoch. */
  readonly startedAt: number
  readonly calls: ReadonlyArray<Call>
  readonly jobs: ReadonlyArray<JobRef>
}

type Lines = ReadonlyArray<string>

/** Returns a message with the difference, or none if the lines are equal. @internal */
export const difference = (what: string, expected: Lines, actual: Lines): Option.Option<string> => {
  const diff = diffLines(expected, actual)
  return diff === "" ? Option.none() : Option.some(`${what} (- expected, + is)\n${diff}`)
}

/** @internal */
export const since = (startedAt: number, at: number): string =>
  at < startedAt
    ? `${Duration.format(Duration.millis(startedAt - at))} before the start`
    : Duration.format(Duration.millis(at - startedAt))

const lineOf = ({ _tag, attempt }: Pick<Transition, "_tag" | "attempt">, mentionsAttempt: boolean): string =>
  mentionsAttempt ? `${_tag} ${attempt}` : _tag

const isStep = ({ _tag }: Transition): boolean => _tag !== "Progressed"

/** @internal */
export const ofTransitions = (seen: Iterable<Transition>, expected: Lines): Option.Option<string> => {
  const mentionsProgress = expected.some((line) => line.startsWith("Progressed"))
  const considered = Array.from(seen).filter((transition) => mentionsProgress || isStep(transition))
  return difference(
    "not the transitions that were expected",
    expected,
    considered.map((transition, i) => lineOf(transition, expected[i]?.includes(" ") ?? true))
  )
}

// The service reports both as `failed`; a watch guesses which it was from the retries and what workers left in `info`.
const isFailure = ({ _tag }: Transition): boolean => _tag === "FailedByModel" || _tag === "RetriesExhausted"

/** @internal */
export const ofTruth = (
  job: JobRef,
  startedAt: number,
  truth: ReadonlyArray<Transition>,
  seen: ReadonlyArray<Transition>
): Option.Option<string> => {
  const steps = truth.filter(isStep)
  const line = (transition: Pick<Transition, "_tag" | "attempt">, at: number) =>
    `${lineOf(transition, true)} at ${since(startedAt, at)}`
  const expected = steps.map((step) => line(step, DateTime.toEpochMillis(step.observedAt)))
  const actual = seen.filter(isStep).map((transition, i) => {
    const step = isFailure(transition) && steps[i] !== undefined && isFailure(steps[i])
      ? { ...transition, _tag: steps[i]._tag }
      : transition
    const { at, observedAt } = step
    // a step without a time has no wrong time
    return Option.match(at, {
      onSome: (at) => line(step, DateTime.toEpochMillis(at)),
      onNone: () =>
        steps[i]?._tag === step._tag && steps[i]?.attempt === step.attempt
          ? expected[i]!
          : `${lineOf(step, true)}, seen at ${since(startedAt, DateTime.toEpochMillis(observedAt))}`
    })
  })
  return Option.orElse(difference(`${format(job)}: what was seen is not what happened`, expected, actual), () => {
    const unreal = seen.find((progress) =>
      !isStep(progress) &&
      !truth.some(({ attempt, snapshot }) =>
        attempt === progress.attempt && same(snapshot.info, progress.snapshot.info)
      )
    )
    return unreal === undefined ? Option.none() : Option.some(
      `${format(job)}: progress was seen that there was not: attempt ${unreal.attempt}, ${
        JSON.stringify(unreal.snapshot.info)
      }`
    )
  })
}

/** @internal */
export const ofPolls = (
  { calls, startedAt }: Log,
  job: JobRef,
  expected: number | ReadonlyArray<Duration.Duration>
): Option.Option<string> => {
  const times = calls
    .filter(({ model, operation, requestId }) =>
      operation === "status" && requestId === job.requestId && model === job.model
    )
    .map(({ at }) => since(startedAt, at))
  if (typeof expected !== "number") {
    return difference(
      `${format(job)}: not the polls that were expected`,
      expected.map((time) => Duration.format(time)),
      times
    )
  }
  return times.length === expected ? Option.none() : Option.some(
    [`${format(job)}: ${expected} polls were expected, there were ${times.length}`, ...times].join("\n  ")
  )
}

const lineOfCall = (startedAt: number, { at, end, model, operation, requestId }: Call): string =>
  `${operation} ${requestId === undefined ? model : format({ model, requestId })} at ${since(startedAt, at)}, ${
    end === undefined ? "still on its way" : `${end.outcome} at ${since(startedAt, end.at)}`
  }`

/** @internal */
export const ofJobs = ({ calls, jobs, startedAt }: Log, expected: number): Option.Option<string> => {
  if (jobs.length === expected) return Option.none()
  const submits = calls.filter(({ operation }) => operation === "submit").map((call) => lineOfCall(startedAt, call))
  return Option.some([
    `${expected} jobs were expected, there are ${jobs.length}`,
    ...jobs.map(format),
    ...submits
  ].join("\n  "))
}

/** @internal */
export const ofSilence = ({ calls, startedAt }: Log, after: Duration.Duration): Option.Option<string> => {
  const from = startedAt + Duration.toMillis(after)
  const late = calls.filter((call) => call.at > from || call.end === undefined || call.end.at > from)
  if (late.length === 0) return Option.none()
  const lines = late.map((call) => `  ${lineOfCall(startedAt, call)}`)
  return Option.some(`after ${Duration.format(after)} there were to be no calls any more:\n${lines.join("\n")}`)
}
