import type * as HttpClient from "@effect/platform/HttpClient"
import type * as HttpClientError from "@effect/platform/HttpClientError"
import type * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import type * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { fromDocument, isDocument, type JobRef, JobStatus } from "../../model/Job.js"
import * as QueueError from "../../model/QueueError.js"
import { clip, formatIssues } from "./request.js"
import { decodeText, ofRefusal, ofSuccess, type ResponseBody } from "./responseBody.js"
import { parseRetryAfter } from "./retryAfter.js"
import type { Scrub } from "./scrubber.js"
import type { ErrorBody } from "./wire.js"

/** The call, which is part of every error. @internal */
export interface About {
  readonly operation: QueueError.Operation
  readonly model: string
  readonly job?: JobRef
}

/** A response, read to its end: its status, its body, and the headers that an error keeps. @internal */
export interface Response {
  readonly httpStatus: number
  readonly text: string
  readonly httpRequestId: string | undefined
  readonly retryAfter: Duration.Duration | undefined
}

/** Returns whether a status code means success (RFC 9110: an unknown 2xx means the same as 200). @internal */
export const isOk = (httpStatus: number): boolean => httpStatus >= 200 && httpStatus < 300

/** @internal */
export const toResponse = (
  httpStatus: number,
  headers: { readonly [name: string]: string | undefined },
  body: Uint8Array
): Effect.Effect<Response> =>
  Effect.map(Clock.currentTimeMillis, (now) => ({
    httpStatus,
    text: decodeText(body, headers["content-encoding"]),
    httpRequestId: headers["x-request-id"],
    retryAfter: Option.getOrUndefined(parseRetryAfter(headers, now))
  }))

/** @internal */
export const tooLarge = (about: About, httpStatus: number, maxBytes: number): QueueError.ResponseTooLarge =>
  new QueueError.ResponseTooLarge({ ...about, httpStatus, maxBytes })

/** Sends a request. A client that fails on a status code (`filterStatusOk`) still has a response. @internal */
export const execute = (
  client: HttpClient.HttpClient,
  request: HttpClientRequest.HttpClientRequest
): Effect.Effect<HttpClientResponse.HttpClientResponse, HttpClientError.RequestError> =>
  Effect.catchTag(client.execute(request), "ResponseError", ({ response }) => Effect.succeed(response))

// The size of a body that is announced and not compressed. Such a body is read as a whole, which costs a fraction of a
// stream.
const announcedSize = (headers: { readonly [name: string]: string | undefined }): number =>
  headers["content-encoding"] === undefined ? Number(headers["content-length"] ?? Infinity) : Infinity

const readChunks = (
  stream: Stream.Stream<Uint8Array, HttpClientError.ResponseError>,
  body: ResponseBody
): Effect.Effect<boolean, HttpClientError.ResponseError> =>
  Effect.scoped(Effect.flatMap(Stream.toPull(stream), (pull) => {
    const loop: Effect.Effect<boolean, Option.Option<HttpClientError.ResponseError>> = Effect.flatMap(
      pull,
      (chunks) => Chunk.every(chunks, (chunk) => body.add(chunk)) ? loop : Effect.succeed(false)
    )
    return Effect.catchAll(loop, (end) =>
      // a response without a body, such as a 204 over `fetch`
      Option.isNone(end) || end.value.reason === "EmptyBody" ? Effect.succeed(true) : Effect.fail(end.value))
  }))

/**
 * Reads a response to its end, because its connection serves the next request only then. Fails if the body of a success
 * breaks off, and returns `undefined` if it is longer than `maxBytes`.
 *
 * @internal
 */
export const readBody = (
  response: HttpClientResponse.HttpClientResponse,
  // a getter that parses them
  headers: HttpClientResponse.HttpClientResponse["headers"],
  maxBytes: number
): Effect.Effect<Uint8Array | undefined, HttpClientError.ResponseError> => {
  if (!isOk(response.status)) {
    const body = ofRefusal()
    // an incomplete body still belongs to a response with a known status
    return Effect.map(Effect.ignore(readChunks(response.stream, body)), () => body.bytes())
  }
  if (announcedSize(headers) <= maxBytes) {
    return Effect.map(response.arrayBuffer, (body) => body.byteLength > maxBytes ? undefined : new Uint8Array(body))
  }
  const body = ofSuccess(maxBytes)
  return Effect.map(readChunks(response.stream, body), (isWhole) => isWhole ? body.bytes() : undefined)
}

const string = (value: unknown): string | undefined =>
  typeof value === "string" && value.trim() !== ""
    ? value.trim()
    : typeof value === "number"
    ? String(value)
    : undefined

const errorBody = (value: unknown): typeof ErrorBody.Type => {
  if (typeof value !== "object" || value === null) return { message: string(value) }
  const { code, error, message, param, type } = value as { readonly [key: string]: unknown }
  // some gateways wrap it: { "error": { … } }, or { "error": "…" }; the outer fields replace missing inner ones
  const inner = errorBody(error)
  return {
    code: inner.code ?? string(code),
    type: inner.type ?? string(type),
    param: inner.param ?? string(param),
    message: inner.message ?? string(message)
  }
}

// Each alternative ends at the next `<` or matches, so that any text takes linear time. The replacement of the token
// looks like a tag, and is kept.
const html = /<style[^]*?(?:<\/style>|$)|<(?!redacted>)[^<>]*>/gi

const parseBody = (text: string, scrub: Scrub): typeof ErrorBody.Type => {
  try {
    return errorBody(JSON.parse(text))
  } catch {
    // The text of a load balancer's HTML page. The token is removed first: it may contain what looks like a tag.
    return { message: string(scrub(text).replace(html, " ").replace(/\s+/g, " ")) }
  }
}

// Omits fields without a value, as JSON does: an error must survive a round trip through JSON.
const compact = <A extends object>(fields: A): A =>
  // an omitted field still reads as `undefined`
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as A

// The parts of a response that an error keeps.
const kept = (about: About, response: Response, scrub: Scrub) => {
  const clean = (text: string | undefined) => text === undefined ? undefined : clip(scrub(text))
  const { code, message, param, type } = parseBody(response.text, scrub)
  return compact({
    ...about,
    httpStatus: response.httpStatus,
    code: clean(code),
    type: clean(type),
    param: clean(param),
    detail: clean(message),
    httpRequestId: clean(response.httpRequestId),
    retryAfter: response.retryAfter
  })
}

const unexpected = (about: About, response: Response, issue: string, scrub: Scrub): QueueError.UnexpectedResponse =>
  new QueueError.UnexpectedResponse({
    ...kept(about, response, scrub),
    issue: clip(scrub(issue)),
    body: clip(scrub(response.text))
  })

/** Returns the error for a response that is not a success. @internal */
export const fromRefusal = (about: About, response: Response, scrub: Scrub): QueueError.QueueError => {
  const { httpStatus } = response
  const fields = () => kept(about, response, scrub)
  switch (httpStatus) {
    case 400:
    case 413:
    case 422:
      return new QueueError.InvalidRequest(fields())
    case 401:
    case 403:
      return new QueueError.AccessDenied(fields())
    case 404:
      return new QueueError.JobNotFound(fields())
    case 429:
      return new QueueError.RateLimited(fields())
    case 408:
      return new QueueError.Unavailable(fields())
    default:
      return httpStatus >= 500 && httpStatus !== 501 && httpStatus !== 505
        ? new QueueError.Unavailable(fields())
        : unexpected(about, response, "the API has no such status code", scrub)
  }
}

/** Decodes the JSON of a body. @internal */
export type Decode<A> = (json: unknown) => Either.Either<A, ParseResult.ParseError>

// An empty body is not JSON, and decodes as a missing value.
const parseJson = (text: string): Either.Either<unknown, ParseResult.ParseError> =>
  text === "" ? Either.right(undefined) : Either.try({
    try: () => JSON.parse(text) as unknown,
    catch: () => ParseResult.parseError(new ParseResult.Type(Schema.String.ast, text, "Could not parse JSON"))
  })

const explainStatus = Schema.decodeUnknownEither(JobStatus)

/** @internal */
export const decodeStatus = (asked: JobRef): Decode<JobStatus> => (json) =>
  isDocument(json) ? Either.right(fromDocument(json, asked)) : explainStatus(json)

/** @internal */
export const decode = <A>(text: string, decode: Decode<A>): Either.Either<A, ParseResult.ParseError> =>
  Either.flatMap(parseJson(text), decode)

/** Returns the error for a response whose body does not match its status. @internal */
export const undecoded = (
  about: About,
  response: Response,
  error: ParseResult.ParseError,
  scrub: Scrub
): QueueError.UnexpectedResponse => unexpected(about, response, formatIssues(error), scrub)

// An error of OpenSSL: thread, "error", code, library, function, reason, and the place in its source. The first and the last
// may be missing.
const openSslError = /(\n?)\b(?:[0-9A-F]+:)?error:[0-9A-F]+:(.*?):.*?:([^:\n]*).*/g

const readable = (text: string): string =>
  text.replace(openSslError, (_, next, library, reason) => `${next && "; "}${library}: ${reason}`)

/**
 * Returns the innermost reason: `fetch failed` is caused by `connect ECONNREFUSED 127.0.0.1:1`. If several addresses were
 * tried, returns the reason of each. `above` are the errors that this one is the cause of.
 *
 * @internal
 */
export const reasonOf = (cause: unknown, above: ReadonlyArray<unknown> = []): string | undefined => {
  if (typeof cause === "string") return string(cause)
  if (typeof cause !== "object" || cause === null || above.includes(cause)) return undefined
  const { cause: deeper, code, errors, message } = cause as { readonly [key: string]: unknown }
  const path = [...above, cause]
  const each = new Set(Array.isArray(errors) ? errors.flatMap((error) => reasonOf(error, path) ?? []) : [])
  return reasonOf(deeper, path) ?? string(Array.from(each).join("; ")) ?? string(readable(string(message) ?? "")) ??
    string(code)
}

// OpenSSL's verification errors of a server certificate, as named by Node. The certificate is verified before any part
// of the request is sent.
const isCertificateError = (code: string): boolean =>
  /^(?:CERT|CRL|ERR_TLS_CERT|ERROR_IN_CERT|UNABLE_TO)_|SELF_SIGNED_CERT/.test(code) ||
  ["HOSTNAME_MISMATCH", "INVALID_CA", "INVALID_PURPOSE", "PATH_LENGTH_EXCEEDED"].includes(code)

// The server does not speak TLS, or not our version of it. Over node:http the write of the request fails.
const isProtocolError = (code: unknown, syscall: unknown): boolean =>
  code === "EPROTO" ? syscall === "write" : typeof code === "string" && code.startsWith("ERR_SSL_")

const isConnectError = (code: unknown, syscall: unknown, message: unknown): boolean =>
  syscall === "connect" || syscall === "getaddrinfo" || code === "ECONNREFUSED" || code === "ENOTFOUND" ||
  code === "EAI_AGAIN" || code === "UND_ERR_CONNECT_TIMEOUT" ||
  message === "Client network socket disconnected before secure TLS connection was established"

// undici's error if a proxy opens no tunnel: it failed, or it rejects the request.
const refusedTunnel = /^Proxy response \((\d+)\) !== 200 when HTTP Tunneling$/

/** The kind of a failure before anything was sent: whether it stays until a setting is corrected. */
type Unsent = "may pass" | "stays"

/*
 * Nothing was sent if no connection was established. Only errors that occur exclusively while connecting prove that;
 * any other (ECONNRESET, EHOSTUNREACH of a read, a browser's error) may occur after the request. Garbage instead of TLS
 * precedes the request if the server never spoke TLS, but not if it did before.
 */
const unsentBy = (
  cause: unknown,
  hasAnswered: boolean,
  above: ReadonlyArray<unknown> = []
): Unsent | undefined => {
  if (typeof cause !== "object" || cause === null || above.includes(cause)) return undefined
  const path = [...above, cause]
  const { cause: deeper, code, errors, message, syscall } = cause as { readonly [key: string]: unknown }
  // several addresses were tried in turn
  if (Array.isArray(errors) && errors.length > 0) {
    const each = errors.map((error) => unsentBy(error, hasAnswered, path))
    return each.includes(undefined) ? undefined : each.includes("may pass") ? "may pass" : "stays"
  }
  const [, proxyStatus] = refusedTunnel.exec(String(message)) ?? []
  if (proxyStatus !== undefined) return Number(proxyStatus) < 500 ? "stays" : "may pass"
  if (isCertificateError(String(code)) || (!hasAnswered && isProtocolError(code, syscall))) return "stays"
  return isConnectError(code, syscall, message) ? "may pass" : unsentBy(deeper, hasAnswered, path)
}

/**
 * Returns the error for a missing or incomplete response. Only the reason of the cause is kept, as text: a client's
 * error may contain the request, and with it the token. `hasAnswered` is whether the service ever responded.
 *
 * @internal
 */
export const unreachable = (
  about: About,
  cause: unknown,
  otherwise: string,
  hasAnswered: boolean,
  scrub: Scrub
): QueueError.Unreachable => {
  const unsent = unsentBy(cause, hasAnswered)
  return new QueueError.Unreachable({
    ...about,
    reason: clip(scrub(reasonOf(cause) ?? otherwise)),
    ...(unsent !== undefined && { sent: false }),
    ...(unsent === "stays" && { transient: false })
  })
}
