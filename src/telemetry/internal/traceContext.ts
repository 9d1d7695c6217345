/**
 * The span of a submit, as it travels in the `info` of its job: a `traceparent` of W3C Trace Context.
 */
import * as Predicate from "effect/Predicate"
import * as Tracer from "effect/Tracer"
import type { JsonObject } from "../../model/Job.js"
import type { SubmitRequest } from "../../queue/JobQueue.js"

const field = "traceparent"

// Version ff is invalid, as are ids of zeros. A later version may have more fields.
const pattern = /^(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/

const parseText = (text: unknown): Tracer.ExternalSpan | undefined => {
  const match = typeof text === "string" && text.length < 256 ? pattern.exec(text) : null
  if (match === null) return undefined
  const [, version, traceId, spanId, flags, rest] = match
  if (traceId === undefined || spanId === undefined || (version === "00" && rest !== undefined)) return undefined
  return Tracer.externalSpan({ traceId, spanId, sampled: (parseInt(flags ?? "", 16) & 1) === 1 })
}

/** Returns the span of the submit, unless there is none, or what is there is not valid. @internal */
export const parse = (info: JsonObject): Tracer.ExternalSpan | undefined => parseText(info[field])

/**
 * Adds a span to a request, unless that has one. The ids of some tracers, and of a span where tracing is off, are no valid
 * ones. An invalid `info` stays: the submit reports it.
 *
 * @internal
 */
export const addTo = (request: SubmitRequest, { sampled, spanId, traceId }: Tracer.AnySpan): SubmitRequest => {
  const info: unknown = request?.info ?? {}
  const text = `00-${traceId}-${spanId}-${sampled ? "01" : "00"}`
  return Predicate.isRecord(info) && info[field] === undefined && parseText(text) !== undefined
    ? { ...request, info: { ...info, [field]: text } }
    : request
}
