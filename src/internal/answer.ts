import type { HttpApiDecodeError } from "@effect/platform/HttpApiError"
import type * as HttpClientError from "@effect/platform/HttpClientError"
import type * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as ParseResult from "effect/ParseResult"
import * as Stream from "effect/Stream"
import type { JobRef } from "../Job.js"
import type { ErrorBody } from "../QueueApi.js"
import * as QueueError from "../QueueError.js"
import { clip, formatIssues } from "./checkRequest.js"
import { parseRetryAfter } from "./retryAfter.js"
import type { Scrub } from "./scrubber.js"

/**
 * What was asked: every error says it.
 *
 * @internal
 */
export interface About {
  readonly operation: QueueError.Operation
  readonly model: string
  readonly job?: JobRef
}

/**
 * An answer other than 200, read to its end and boiled down to what an error keeps.
 *
 * @internal
 */
export class Refusal extends Data.TaggedError("Refusal")<{
  readonly httpStatus: number
  readonly text: string
  readonly httpRequestId: string | undefined
  readonly retryAfter: Duration.Duration | undefined
}> {}

/** @internal */
export const isConflict = (error: ClientError): error is Refusal =>
  "_tag" in error && error._tag === "Refusal" && error.httpStatus === 409

// How much of a refusal's body is read for its sense, and how much at most is drained before its connection is dropped.
const readLimit = 64 * 1024
const drainLimit = 1024 * 1024

/**
 * A refusal's body, as it comes: its beginning is kept, and `add` tells whether to go on reading. A connection serves
 * the next request only when the body is at its end, and a body without an end is not worth waiting for.
 *
 * @internal
 */
export interface RefusalBody {
  readonly add: (chunk: Uint8Array) => boolean
  readonly text: () => string
}

/** @internal */
export const refusalBody = (): RefusalBody => {
  const kept: Array<Uint8Array> = []
  let size = 0
  return {
    add: (chunk) => {
      if (size < readLimit) kept.push(chunk.subarray(0, readLimit - size))
      size += chunk.length
      return size <= drainLimit
    },
    text: () => {
      const decoder = new TextDecoder()
      return kept.map((chunk) => decoder.decode(chunk, { stream: true })).join("") + decoder.decode()
    }
  }
}

const readText = (response: HttpClientResponse.HttpClientResponse): Effect.Effect<string> =>
  Effect.suspend(() => {
    const body = refusalBody()
    return response.stream.pipe(
      Stream.runForEachWhile((chunk) => Effect.sync(() => body.add(chunk))),
      // a body that breaks off still belongs to an answer whose status is known
      Effect.ignore,
      Effect.map(body.text)
    )
  })

/**
 * What a refusal comes to, its body read.
 *
 * @internal
 */
export const refusal = (
  httpStatus: number,
  headers: { readonly [name: string]: string | undefined },
  text: string,
  scrub: Scrub
): Effect.Effect<Refusal> =>
  Effect.map(Clock.currentTimeMillis, (now) =>
    new Refusal({
      httpStatus,
      text: scrub(text),
      httpRequestId: Option.getOrUndefined(Option.map(Option.fromNullable(headers["x-request-id"]), scrub)),
      retryAfter: Option.getOrUndefined(parseRetryAfter(headers, now))
    }))

/**
 * Lets a 200 pass, unread, and turns every other answer into a `Refusal`: its body must be read before another request
 * can have the connection, and read here, because a schema for it would lose the status and the headers.
 *
 * @internal
 */
export const refuse =
  (scrub: Scrub) =>
  (response: HttpClientResponse.HttpClientResponse): Effect.Effect<HttpClientResponse.HttpClientResponse, Refusal> =>
    response.status === 200
      ? Effect.succeed(response)
      : readText(response).pipe(
        Effect.flatMap((text) => refusal(response.status, response.headers, text, scrub)),
        Effect.flip
      )

const string = (value: unknown): string | undefined =>
  typeof value === "string" && value.trim() !== "" ? value : typeof value === "number" ? String(value) : undefined

const errorBody = (value: unknown): typeof ErrorBody.Type => {
  if (typeof value !== "object" || value === null) return { message: string(value) }
  const { code, error, message, param, type } = value as { readonly [key: string]: unknown }
  const outer = { code: string(code), type: string(type), param: string(param), message: string(message) }
  if (error === undefined || error === null) return outer
  // some gateways wrap it: { "error": { … } }, or { "error": "…" }; what they say beside it counts where it says nothing
  const inner = errorBody(error)
  return {
    code: inner.code ?? outer.code,
    type: inner.type ?? outer.type,
    param: inner.param ?? outer.param,
    message: inner.message ?? outer.message
  }
}

// Each alternative ends at the next `<` or matches: no text, however odd, takes more than linear time. What stands for
// the token looks like a tag, and stays.
const html = /<style[^]*?(?:<\/style>|$)|<(?!redacted>)[^<>]*>/gi

const readBody = (text: string, scrub: Scrub): typeof ErrorBody.Type => {
  try {
    return errorBody(JSON.parse(text))
  } catch {
    // The HTML page of a load balancer: what a person would read of it. The token goes first, it may hold what looks like
    // a tag.
    return { message: string(scrub(text).replace(html, " ").replace(/\s+/g, " ").trim()) }
  }
}

// A field without a value is left out, as it is from JSON: an error is equal to what it is after a journey.
const compact = <A extends object>(fields: A): A =>
  // a field that is not there reads as `undefined`, as it did
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as A

const said = (text: string, scrub: Scrub) => {
  const { code, message, param, type } = readBody(text, scrub)
  // once more: what was parsed may say what the raw text only spelled in escapes
  const clean = (text: string | undefined) => text === undefined ? undefined : clip(scrub(text))
  return { code: clean(code), type: clean(type), param: clean(param), detail: clean(message) }
}

/** @internal */
export const fromRefusal = (about: About, refusal: Refusal, scrub: Scrub): QueueError.QueueError => {
  const { httpRequestId, httpStatus, retryAfter } = refusal
  const answer = compact({
    ...about,
    httpStatus,
    ...said(refusal.text, scrub),
    httpRequestId: httpRequestId === undefined ? undefined : clip(httpRequestId),
    retryAfter
  })
  switch (httpStatus) {
    case 400:
    case 413:
    case 422:
      return new QueueError.InvalidRequest(answer)
    case 401:
    case 403:
      return new QueueError.Unauthorized(answer)
    case 404:
      return new QueueError.NotFound(answer)
    case 429:
      return new QueueError.RateLimited(answer)
    case 408:
      return new QueueError.Unavailable(answer)
    default:
      return httpStatus >= 500 && httpStatus !== 501 && httpStatus !== 505
        ? new QueueError.Unavailable(answer)
        : new QueueError.UnexpectedAnswer({
          ...answer,
          issue: "the API has no such status code",
          body: clip(refusal.text)
        })
  }
}

/**
 * An answer with a status code of the API, and a body that is not.
 *
 * @internal
 */
export const fromBody = (
  about: About,
  httpStatus: number,
  body: string,
  error: ParseResult.ParseError,
  scrub: Scrub
): QueueError.UnexpectedAnswer =>
  new QueueError.UnexpectedAnswer(compact({
    ...about,
    httpStatus,
    // `POST /queue/submit` may answer 200 with an error body and no request id
    ...said(body, scrub),
    issue: clip(scrub(formatIssues(error))),
    body: clip(scrub(body))
  }))

// The reason that lies deepest: `fetch failed` is caused by `connect ECONNREFUSED 127.0.0.1:1`.
const reasonOf = (cause: unknown): string | undefined => {
  if (typeof cause === "string") return string(cause)
  if (typeof cause !== "object" || cause === null) return undefined
  const { cause: deeper, code, errors, message } = cause as { readonly [key: string]: unknown }
  return reasonOf(deeper) ?? (Array.isArray(errors) ? reasonOf(errors[0]) : undefined) ?? string(message) ??
    string(code)
}

// Where no connection was made, nothing was sent. What else went wrong did so on a connection, or is not told apart by
// who made it (a browser).
const isUnsent = (cause: unknown): boolean => {
  if (typeof cause !== "object" || cause === null) return false
  const { cause: deeper, code, errors, syscall } = cause as { readonly [key: string]: unknown }
  // one address after the other was tried
  if (Array.isArray(errors) && errors.length > 0) return errors.every(isUnsent)
  return syscall === "connect" || syscall === "getaddrinfo" || code === "ECONNREFUSED" || code === "ENOTFOUND" ||
    code === "UND_ERR_CONNECT_TIMEOUT" || isUnsent(deeper)
}

/**
 * No answer, or not the whole of a good one. Of what caused it only the reason is kept, as text: an error of a client
 * may hold the request, and with it the token.
 *
 * @internal
 */
export const unreachable = (about: About, cause: unknown, otherwise: string, scrub: Scrub): QueueError.Unreachable =>
  new QueueError.Unreachable({
    ...about,
    reason: clip(scrub(reasonOf(cause) ?? otherwise)),
    ...(isUnsent(cause) && { sent: false })
  })

/**
 * @internal
 */
export type ClientError =
  | Refusal
  | QueueError.UnexpectedAnswer
  | HttpClientError.HttpClientError
  | ParseResult.ParseError
  | HttpApiDecodeError
  | typeof ErrorBody.Type

/**
 * Whatever a call of the derived client fails with, as an error of ours. The client's own errors hold the request, and
 * with it the token: not a thing of them is kept but the reason, as text.
 *
 * @internal
 */
export const toQueueError = (
  about: About,
  error: ClientError,
  scrub: Scrub
): QueueError.QueueError => {
  // the API declares them, and `refuse` takes every answer that could be decoded as one
  if (!("_tag" in error) || error._tag === "HttpApiDecodeError") {
    throw new Error(`unreachable: ${JSON.stringify(error)}`)
  }
  switch (error._tag) {
    case "UnexpectedAnswer":
      return error
    case "Refusal":
      return fromRefusal(about, error, scrub)
    case "RequestError":
    case "ResponseError":
      return unreachable(about, error.cause, error.reason, scrub)
    case "ParseError": {
      // the raw body where an answer did not decode; anything else where a request did not encode
      const { actual } = error.issue
      return actual instanceof ArrayBuffer
        ? fromBody(about, 200, new TextDecoder().decode(actual), error, scrub)
        : new QueueError.InvalidRequest({ ...about, detail: clip(scrub(formatIssues(error))) })
    }
  }
}
