/**
 * The spans of a job. They are made when the job, or its watch, has ended.
 */
import * as Context from "effect/Context"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type * as Tracer from "effect/Tracer"
import type { Terminal } from "../../model/Transition.js"
import { interrupted } from "../../queue/internal/fiber.js"
import * as History from "./history.js"

/** An error in a span: its `error.type`, and the message of its status. */
interface Failure {
  readonly type: string
  readonly message: string
}

const workerLost: Failure = { type: "WorkerLost", message: "the worker was lost" }

const failureOf = (last: Terminal): Failure | undefined => {
  switch (last._tag) {
    case "FailedByModel":
      return { type: last._tag, message: Option.getOrElse(last.reason, () => "the model failed the job") }
    case "RetriesExhausted":
      return { type: last._tag, message: "the worker of the last attempt was lost" }
    case "Unrecognized":
      return { type: last._tag, message: `unrecognized state: ${last.status}` }
    case "Completed":
    case "Canceled":
      return undefined
  }
}

/** The failure of an attempt, which the last transition of the job ended, or the loss of its worker. */
const failureOfAttempt = (last: Terminal | undefined): Failure | undefined =>
  last === undefined || last._tag === "RetriesExhausted"
    ? workerLost
    : last._tag === "Unrecognized"
    ? undefined
    : failureOf(last)

const nanos = (millis: number): bigint => BigInt(Math.trunc(millis)) * 1_000_000n

/** Where the spans of a job belong. @internal */
export interface Surroundings {
  readonly tracer: Tracer.Tracer
  readonly parent: Option.Option<Tracer.AnySpan>
  /** The span of the submit, if known. */
  readonly submit: Tracer.AnySpan | undefined
  /** How far the server's clock is ahead of ours, in milliseconds. */
  readonly clockAhead: number
}

/**
 * Makes the span of a job, linked to that of its submit, and those of its phases as children. Without a last transition, the
 * watch of the job ends now. The open phase is left out then: the watch that resumes will have it.
 *
 * @internal
 */
export const draw = (
  { clockAhead, parent, submit, tracer }: Surroundings,
  history: History.History,
  last: Terminal | undefined,
  now: number
): void => {
  const { job, phases } = history
  const times = History.timesOf(history, last, now)
  const begin = (
    name: string,
    parent: Option.Option<Tracer.AnySpan>,
    [start, end]: readonly [History.Time, History.Time],
    attributes: { readonly [name: string]: unknown },
    links: ReadonlyArray<Tracer.SpanLink> = []
  ): Tracer.Span => {
    const span = tracer.span(name, parent, Context.empty(), links, nanos(start.millis), "internal")
    const all = {
      "messaging.system": "together_ai",
      "messaging.destination.name": job.model,
      "messaging.message.id": job.requestId,
      "queue.start_estimated": !start.isReported || undefined,
      "queue.end_estimated": !end.isReported || undefined,
      ...attributes
    }
    for (const [name, value] of Object.entries(all)) {
      if (value !== undefined) span.attribute(name, value)
    }
    return span
  }

  const failure = last && failureOf(last)
  const end = times.at(-1)!
  const span = begin("job", parent, [times[0]!, end], {
    "error.type": failure?.type,
    "queue.resumed": history.isResumed || undefined,
    "queue.outcome": last?._tag,
    "queue.attempts": last?.attempt,
    "queue.open_phase": last === undefined ? phases.at(-1)?.name : undefined,
    // shown, not applied: the times are those of the server
    "queue.clock_ahead_millis": clockAhead === 0 ? undefined : clockAhead
  }, submit === undefined ? [] : [{ _tag: "SpanLink", span: submit, attributes: {} }])
  const ended = last === undefined ? phases.slice(0, -1) : phases
  for (const [i, { attempt, isInferred, isResumed, name, progress }] of span.sampled ? ended.entries() : []) {
    const [start, end] = [times[i + 1]!, times[i + 2]!]
    const failure = attempt === undefined ? undefined : failureOfAttempt(i === phases.length - 1 ? last : undefined)
    const child = begin(name, Option.some(span), [start, end], {
      "error.type": failure?.type,
      "queue.resumed": isResumed || undefined,
      "queue.attempt": attempt,
      "queue.inferred": isInferred || undefined
    })
    for (const { fraction, observedAt } of progress) {
      child.event(
        "progress",
        nanos(Math.min(Math.max(observedAt, start.millis), end.millis)),
        fraction === undefined ? {} : { "queue.progress": fraction }
      )
    }
    child.end(nanos(end.millis), exitOf(failure))
  }
  span.end(nanos(end.millis), last === undefined ? Exit.failCause(interrupted) : exitOf(failure))
}

const exitOf = (failure: Failure | undefined): Exit.Exit<void, string> =>
  failure === undefined ? Exit.void : Exit.fail(failure.message)
