/**
 * The spans of a job. They are made when the job, or its watch, has ended.
 */
import * as Context from "effect/Context"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type * as Tracer from "effect/Tracer"
import type { Terminal } from "../../model/Transition.js"
import { interrupted } from "../../queue/internal/fiber.js"
import type { Ended, Phase } from "./history.js"

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

const failureOfPhase = ({ attempt, last }: Phase): Failure | undefined => {
  if (attempt === undefined || last?._tag === "Unrecognized") return undefined
  return last === undefined || last._tag === "RetriesExhausted" ? workerLost : failureOf(last)
}

const nanos = (millis: number): bigint => BigInt(Math.trunc(millis)) * 1_000_000n

/** Makes the span of a job, linked to that of its submit, if known, and those of its phases as children. @internal */
export const draw = (
  tracer: Tracer.Tracer,
  parent: Option.Option<Tracer.AnySpan>,
  submit: Tracer.AnySpan | undefined,
  ended: Ended,
  clockAhead: number
): void => {
  const { job, last, openPhase } = ended
  const begin = (
    name: string,
    parent: Option.Option<Tracer.AnySpan>,
    of: Ended | Phase,
    attributes: { readonly [name: string]: unknown },
    links: ReadonlyArray<Tracer.SpanLink> = []
  ): Tracer.Span => {
    const span = tracer.span(name, parent, Context.empty(), links, nanos(of.start.millis), "internal")
    const all = {
      "messaging.system": "together_ai",
      "messaging.destination.name": job.model,
      "messaging.message.id": job.requestId,
      "queue.resumed": of.isResumed || undefined,
      "queue.start_estimated": !of.start.isReported || undefined,
      "queue.end_estimated": !of.end.isReported || undefined,
      ...attributes
    }
    for (const [name, value] of Object.entries(all)) {
      if (value !== undefined) span.attribute(name, value)
    }
    return span
  }

  const failure = last && failureOf(last)
  const span = begin("job", parent, ended, {
    "error.type": failure?.type,
    "queue.outcome": last?._tag,
    "queue.attempts": last?.attempt,
    "queue.open_phase": openPhase,
    // shown, not applied: the times are those of the server
    "queue.clock_ahead_millis": clockAhead === 0 ? undefined : clockAhead
  }, submit === undefined ? [] : [{ _tag: "SpanLink", span: submit, attributes: {} }])
  for (const phase of span.sampled ? ended.phases : []) {
    const { attempt, end, isInferred, name, progress, start } = phase
    const failure = failureOfPhase(phase)
    const child = begin(name, Option.some(span), phase, {
      "error.type": failure?.type,
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
  span.end(nanos(ended.end.millis), last === undefined ? Exit.failCause(interrupted) : exitOf(failure))
}

const exitOf = (failure: Failure | undefined): Exit.Exit<void, string> =>
  failure === undefined ? Exit.void : Exit.fail(failure.message)
