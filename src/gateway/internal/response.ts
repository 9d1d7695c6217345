/** The responses of the gateway. */
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import type { JsonObject } from "../../model/Job.js"
import type { InvalidCursor, WatchError } from "../../model/QueueError.js"

const headers = { "cache-control": "no-store, no-transform" }

/** @internal */
export const json = (body: unknown, status = 200, more: { readonly [name: string]: string } = {}) =>
  HttpServerResponse.unsafeJson(body, { status, headers: { ...headers, ...more } })

/** @internal */
export const noNews: HttpServerResponse.HttpServerResponse = HttpServerResponse.empty({ status: 204, headers })

/** @internal */
export const stream = (contentType: string, body: Parameters<typeof HttpServerResponse.stream>[0]) =>
  // nginx buffers a response without this header
  HttpServerResponse.stream(body, { contentType, headers: { ...headers, "x-accel-buffering": "no" } })

const statuses: { readonly [Tag in (WatchError | InvalidCursor)["_tag"]]: number } = {
  InvalidCursor: 400,
  InvalidRequest: 400,
  AccessDenied: 401,
  JobNotFound: 404,
  JobMismatch: 409,
  Unreachable: 502,
  ResponseTooLarge: 502,
  UnexpectedResponse: 502,
  UnrecognizedStatus: 502,
  RateLimited: 503,
  Unavailable: 503,
  ResponseTimeout: 504,
  PendingTooLong: 504,
  Stalled: 504,
  WatchTimeout: 504
}

const statusOf = (error: WatchError | InvalidCursor): number =>
  error._tag === "AccessDenied" && error.httpStatus === 403 ? 403 : statuses[error._tag]

/** @internal */
export const ofError = (error: WatchError | InvalidCursor, encoded: JsonObject) => {
  const retryAfter = "retryAfter" in error && error.retryAfter !== undefined
    ? { "retry-after": String(Math.ceil(Duration.toSeconds(error.retryAfter))) }
    : {}
  return json(encoded, statusOf(error), retryAfter)
}

/** @internal */
export const routeNotFound = json({ _tag: "RouteNotFound", message: "the routes are /events and /status" }, 404)

/** @internal */
export const methodNotAllowed = json({ _tag: "MethodNotAllowed", message: "the method is GET" }, 405, { allow: "GET" })

// 1 to 5 seconds: clients do not all come back at the same time
const pauseMillis: Effect.Effect<number> = Random.nextIntBetween(1_000, 5_001)

/** The pause after which an `EventSource` connects again. @internal */
export const retryField: Effect.Effect<string> = Effect.map(pauseMillis, (millis) => `retry: ${millis}\n\n`)

/** 429 if the client itself has them open. @internal */
export const tooManyConnections = (status: 429 | 503): Effect.Effect<HttpServerResponse.HttpServerResponse> =>
  Effect.map(pauseMillis, (millis) => {
    const message = status === 429
      ? "this client has as many requests open as it may"
      : "the gateway serves as many requests as it may"
    return json({ _tag: "TooManyConnections", message }, status, { "retry-after": String(Math.ceil(millis / 1_000)) })
  })
