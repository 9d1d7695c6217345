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

/** Returns a message with the difference, or none if the lines are equal. */
const difference = (what: string, expected: Lines, actual: Lines): Option.Option<string> => {
  const diff = diffLines(expected, actual)
  return diff === "" ? Option.none() : Option.some(`${what} (- expected, + is)\n${diff}`)
}

const since = (startedAt: number, at: number): string =>
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
  const time = (at: DateTime.DateTime) => since(startedAt, DateTime.toEpochMillis(at))
  const steps = truth.filter(isStep)
  const expected = steps.map((step) => `${lineOf(step, true)} at ${time(step.observedAt)}`)
  const actual = seen.filter(isStep).map((transition, i) => {
    const step = steps[i]
    const _tag = step !== undefined && isFailure(step) && isFailure(transition) ? step._tag : transition._tag
    const line = lineOf({ ...transition, _tag }, true)
    return Option.match(transition.at, {
      onSome: (at) => `${line} at ${time(at)}`,
      // a step without a time has no wrong time
      onNone: () =>
        step !== undefined && line === lineOf(step, true)
          ? expected[i]!
          : `${line}, seen at ${time(transition.observedAt)}`
    })
  })
  const isReal = ({ attempt, snapshot }: Transition): boolean =>
    truth.some((other) => other.attempt === attempt && same(other.snapshot.info, snapshot.info))
  return Option.orElse(difference(`${format(job)}: what was seen is not what happened`, expected, actual), () => {
    const unreal = seen.find((transition) => !isStep(transition) && !isReal(transition))
    return Option.map(
      Option.fromNullable(unreal),
      ({ attempt, snapshot }) =>
        `${format(job)}: progress was seen that there was not: attempt ${attempt}, ${JSON.stringify(snapshot.info)}`
    )
  })
}

const listed = (what: string, lines: Lines): Option.Option<string> => Option.some([what, ...lines].join("\n  "))

/** @internal */
export const ofPolls = (
  { calls, startedAt }: Log,
  job: JobRef,
  expected: number | ReadonlyArray<Duration.Duration>
): Option.Option<string> => {
  const times = calls
    .filter((call) => call.operation === "status" && call.requestId === job.requestId && call.model === job.model)
    .map(({ at }) => since(startedAt, at))
  const name = format(job)
  if (typeof expected !== "number") {
    return difference(`${name}: not the polls that were expected`, expected.map(Duration.format), times)
  }
  return times.length === expected
    ? Option.none()
    : listed(`${name}: ${expected} polls were expected, there were ${times.length}`, times)
}

const lineOfCall = (startedAt: number) => ({ at, end, model, operation, requestId }: Call): string =>
  `${operation} ${requestId === undefined ? model : format({ model, requestId })} at ${since(startedAt, at)}, ${
    end === undefined ? "still on its way" : `${end.outcome} at ${since(startedAt, end.at)}`
  }`

/** @internal */
export const ofJobs = ({ calls, jobs, startedAt }: Log, expected: number): Option.Option<string> => {
  if (jobs.length === expected) return Option.none()
  const submits = calls.filter(({ operation }) => operation === "submit").map(lineOfCall(startedAt))
  return listed(`${expected} jobs were expected, there are ${jobs.length}`, [...jobs.map(format), ...submits])
}

/** @internal */
export const ofSilence = ({ calls, startedAt }: Log, after: Duration.Duration): Option.Option<string> => {
  const from = startedAt + Duration.toMillis(after)
  const late = calls.filter(({ end }) => end === undefined || end.at > from)
  return late.length === 0 ? Option.none() : listed(
    `after ${Duration.format(after)} there were to be no calls any more:`,
    late.map(lineOfCall(startedAt))
  )
}
