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
import { sayIssues, withoutOffers } from "../../internal/checkRequest.js"
import type { Issue } from "../../internal/checkRequest.js"
import * as Refusal from "../../testing/internal/refusal.js"

/** @internal */
export class Refused extends Data.TaggedError("Refused")<
  Refusal.Refusal & { readonly headers?: { readonly [name: string]: string } }
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
export const unauthorized = new Refused(Refusal.unauthorized)

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

/** @internal */
export const wrongMethod = (path: string, allow: string, method: string): Refused =>
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

/** @internal */
export const toResponse = ({ body, headers, status }: Refused): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.unsafeJson(body, { status, headers: headers ?? {} })

const serverError = toResponse(
  new Refused({
    status: 500,
    body: { code: "internal_error", type: "server_error", message: "the emulator has failed; this is a bug in it" }
  })
)

/** @internal */
export const pathOf = ({ url }: HttpServerRequest.HttpServerRequest): string => url.split("?", 1)[0] ?? ""

/**
 * What the builder of the API does with a request that is wrong is not what the service does: says it as that would.
 * `methods` are the paths that there are, with the methods that they take.
 *
 * @internal
 */
export const answer = (
  methods: ReadonlyMap<string, string>,
  request: HttpServerRequest.HttpServerRequest,
  cause: Cause.Cause<unknown>
): Effect.Effect<HttpServerResponse.HttpServerResponse> => {
  if (Cause.isInterrupted(cause)) return Effect.interrupt
  const failure = Cause.squash(cause)
  if (failure instanceof Refused) return Effect.succeed(toResponse(failure))
  if (Predicate.isTagged(failure, "HttpApiDecodeError")) {
    return Effect.succeed(toResponse(notAsExpected((failure as HttpApiError.HttpApiDecodeError).issues)))
  }
  if (Predicate.isTagged(failure, "RouteNotFound")) {
    const path = pathOf(request)
    const allow = methods.get(path)
    return Effect.succeed(toResponse(allow === undefined ? notFound(path) : wrongMethod(path, allow, request.method)))
  }
  return Effect.as(Effect.logError("a request to the emulator failed", cause), serverError)
}
