/**
 * Error responses, in the form of the service.
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
 * Creates the error of an invalid query or body: its issues, and the first invalid field.
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

// A request may contain the whole URL, like one to a proxy.
const pathOf = ({ url }: HttpServerRequest.HttpServerRequest): string =>
  url.replace(/^https?:\/\/[^/?]*/i, "").split("?", 1)[0] ?? ""

/**
 * Rejects a request whose path or method is not part of the API. Paths are compared literally: the router would ignore
 * case and repeated and trailing slashes, and treat HEAD as GET. `methods` holds the methods of each path.
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
 * Returns the response to a failed request. The API builder's own responses differ in form from the service's.
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
