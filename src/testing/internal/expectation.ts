/**
 * What a test expects of a queue, compared with what there is.
 *
 * @internal
 */
import * as Data from "effect/Data"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import { format } from "../../model/Job.js"
import type { JobRef } from "../../model/Job.js"
import type { Transition } from "../../model/Transition.js"
import type { Call } from "../Call.js"
import { diffLines, same } from "./diff.js"

/** @internal */
export class ExpectationFailed extends Data.TaggedError("ExpectationFailed")<{ readonly message: string }> {}

/**
 * An error that seems to come from where the expectation was stated. A new one each time: a stated expectation may be
 * checked again and again.
 *
 * @internal
 */
export const failed = (message: string, stated: string): ExpectationFailed => {
  const error = new ExpectationFailed({ message })
  const frames = stated.indexOf("\n    at ")
  if (frames >= 0) error.stack = `${error.name}: ${message}${stated.slice(frames)}`
  return error
}

type Lines = ReadonlyArray<string>

/**
 * What differs, for a person to read; nothing where it is as expected.
 *
 * @internal
 */
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

// The service says `failed` of both; which it was is a guess from the number of retries and from what workers left.
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
  const actual = seen.filter(isStep).map((told, i) => {
    const step = isFailure(told) && steps[i] !== undefined && isFailure(steps[i])
      ? { ...told, _tag: steps[i]._tag }
      : told
    const { at, observedAt } = step
    // who was not told the time of a step can't be wrong about it
    return Option.match(at, {
      onSome: (at) => line(step, DateTime.toEpochMillis(at)),
      onNone: () =>
        steps[i]?._tag === step._tag && steps[i]?.attempt === step.attempt
          ? expected[i]!
          : `${lineOf(step, true)}, seen at ${since(startedAt, DateTime.toEpochMillis(observedAt))}`
    })
  })
  return Option.orElse(difference(`${format(job)}: what was seen is not what happened`, expected, actual), () => {
    const madeUp = seen.find((progress) =>
      !isStep(progress) &&
      !truth.some(({ attempt, snapshot }) =>
        attempt === progress.attempt && same(snapshot.info, progress.snapshot.info)
      )
    )
    return madeUp === undefined ? Option.none() : Option.some(
      `${format(job)}: progress was seen that there was not: attempt ${madeUp.attempt}, ${
        JSON.stringify(madeUp.snapshot.info)
      }`
    )
  })
}

const isPollOf = (job: JobRef) => (call: Call): boolean =>
  call.operation === "status" && call.requestId === job.requestId && call.model === job.model

/** @internal */
export const ofPolls = (
  job: JobRef,
  startedAt: number,
  calls: ReadonlyArray<Call>,
  expected: number | ReadonlyArray<Duration.Duration>
): Option.Option<string> => {
  const times = calls.filter(isPollOf(job)).map(({ at }) => since(startedAt, at))
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
  `${operation} ${requestId === undefined ? model : `${model} ${requestId}`} at ${since(startedAt, at)}, ${
    end === undefined ? "still on its way" : `${end.outcome} at ${since(startedAt, end.at)}`
  }`

/** @internal */
export const ofJobs = (
  startedAt: number,
  jobs: ReadonlyArray<JobRef>,
  calls: ReadonlyArray<Call>,
  expected: number
): Option.Option<string> => {
  if (jobs.length === expected) return Option.none()
  const submits = calls.filter(({ operation }) => operation === "submit").map((call) => lineOfCall(startedAt, call))
  return Option.some([
    `${expected} jobs were expected, there are ${jobs.length}`,
    ...jobs.map(format),
    ...submits
  ].join("\n  "))
}

/** @internal */
export const ofSilence = (
  startedAt: number,
  calls: ReadonlyArray<Call>,
  after: Duration.Duration
): Option.Option<string> => {
  const from = startedAt + Duration.toMillis(after)
  const late = calls.filter((call) => call.at > from || call.end === undefined || call.end.at > from)
  if (late.length === 0) return Option.none()
  const lines = late.map((call) => `  ${lineOfCall(startedAt, call)}`)
  return Option.some(`after ${Duration.format(after)} there were to be no calls any more:\n${lines.join("\n")}`)
}
