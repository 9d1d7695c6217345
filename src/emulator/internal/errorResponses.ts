/**
 * Answers that say no, as the service does.
 *
 * @internal
 */
import type * as HttpApiError from "@effect/platform/HttpApiError"
import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import { sayIssues, withoutOffers } from "../../queue/internal/request.js"
import type { Issue } from "../../queue/internal/request.js"
import * as ErrorResponses from "../../testing/internal/errorResponses.js"

/** @internal */
export class Refused extends Data.TaggedError("Refused")<
  ErrorResponses.ErrorResponse & { readonly headers?: { readonly [name: string]: string } }
> {}

/** @internal */
export const invalid = (code: string, message: string, param?: string): Refused =>
  new Refused({
    status: 400,
    body: { code, type: "invalid_request_error", message, ...(param !== undefined && { param }) }
  })

/**
 * A query or a body that is not what it should be: what is wrong with it, and the first field that is at fault.
 *
 * @internal
 */
export const notAsExpected = (issues: ReadonlyArray<Issue>): Refused => {
  const field = withoutOffers(issues)[0]?.path[0]
  return invalid("invalid_request", sayIssues(issues), field === undefined ? field : String(field))
}

/** @internal */
export const unauthorized = new Refused(ErrorResponses.unauthorized)

/** @internal */
export const tooLarge = (maxBodyBytes: number): Refused =>
  new Refused({
    status: 413,
    body: {
      code: "body_too_large",
      type: "invalid_request_error",
      message: `the body must not be larger than ${maxBodyBytes} bytes`
    }
  })

const wrongMethod = (path: string, allow: string, method: string): Refused =>
  new Refused({
    status: 405,
    headers: { allow },
    body: {
      code: "method_not_allowed",
      type: "invalid_request_error",
      message: `${path} takes ${allow}, not ${method}`
    }
  })

const notFound = (path: string): Refused =>
  new Refused({
    status: 404,
    body: { code: "not_found", type: "not_found_error", message: `there is nothing at ${path}` }
  })

// A request may name the whole URL, as one to a proxy does.
const pathOf = ({ url }: HttpServerRequest.HttpServerRequest): string =>
  url.replace(/^https?:\/\/[^/?]*/i, "").split("?", 1)[0] ?? ""

/**
 * Refuses a request whose path or method the API does not have. Paths are compared literally: the router would ignore
 * case, repeated and trailing slashes, and take HEAD for GET. `methods` holds the methods of each path.
 *
 * @internal
 */
export const route = (
  methods: ReadonlyMap<string, ReadonlyArray<string>>,
  request: HttpServerRequest.HttpServerRequest
): Refused | undefined => {
  const path = pathOf(request)
  const allowed = methods.get(path)
  return allowed === undefined
    ? notFound(path)
    : allowed.includes(request.method)
    ? undefined
    : wrongMethod(path, allowed.join(", "), request.method)
}

/** @internal */
export const toResponse = ({ body, headers, status }: Refused): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.unsafeJson(body, { status, headers: headers ?? {} })

const serverError = toResponse(
  new Refused({
    status: 500,
    body: { code: "internal_error", type: "server_error", message: "the emulator has failed; this is a bug in it" }
  })
)

/**
 * The response to a request that failed. The API builder's own responses have another form than the service's.
 *
 * @internal
 */
export const answer = (cause: Cause.Cause<unknown>): Effect.Effect<HttpServerResponse.HttpServerResponse> => {
  if (Cause.isInterrupted(cause)) return Effect.interrupt
  const failure = Cause.squash(cause)
  if (failure instanceof Refused) return Effect.succeed(toResponse(failure))
  if (Predicate.isTagged(failure, "HttpApiDecodeError")) {
    return Effect.succeed(toResponse(notAsExpected((failure as HttpApiError.HttpApiDecodeError).issues)))
  }
  return Effect.as(Effect.logError("a request to the emulator failed", cause), serverError)
}
