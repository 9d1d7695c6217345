/** Error responses, in the form of the service. @internal */
import type * as HttpApiError from "@effect/platform/HttpApiError"
import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import { sayIssues, withoutOffers } from "../../queue/internal/request.js"
import type { Issue } from "../../queue/internal/request.js"
import { jsonResponse } from "../../testing/internal/wireResponse.js"
import type { WireResponse } from "../../testing/internal/wireResponse.js"

/** @internal */
export class Refused extends Data.TaggedError("Refused")<{ readonly response: WireResponse }> {}

interface Details {
  readonly type?: string
  /** The field that is at fault. */
  readonly param?: string | undefined
  readonly headers?: WireResponse["headers"]
}

/** @internal */
export const refused = (
  status: number,
  code: string,
  message: string,
  { headers, param, type = "invalid_request_error" }: Details = {}
): Refused => new Refused({ response: jsonResponse(status, { code, type, message, param }, headers) })

/** Creates the error of an invalid query or body: its issues, and the first invalid field. @internal */
export const notAsExpected = (issues: ReadonlyArray<Issue>): Refused =>
  refused(400, "invalid_request", sayIssues(issues), { param: withoutOffers(issues)[0]?.path[0]?.toString() })

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
): Effect.Effect<void, Refused> => {
  const path = pathOf(request)
  const allowed = methods.get(path)
  if (allowed === undefined) {
    return refused(404, "not_found", `there is nothing at ${path}`, { type: "not_found_error" })
  }
  const allow = allowed.join(", ")
  return allowed.includes(request.method)
    ? Effect.void
    : refused(405, "method_not_allowed", `${path} takes ${allow}, not ${request.method}`, { headers: { allow } })
}

const refusedBy = (failure: unknown): Refused | undefined =>
  failure instanceof Refused
    ? failure
    : Predicate.isTagged(failure, "HttpApiDecodeError")
    ? notAsExpected((failure as HttpApiError.HttpApiDecodeError).issues)
    : undefined

/**
 * Returns the response to a failed request. The API builder's own responses differ in form from the service's.
 *
 * @internal
 */
export const toResponse = (cause: Cause.Cause<unknown>): Effect.Effect<HttpServerResponse.HttpServerResponse> => {
  if (Cause.isInterrupted(cause)) return Effect.interrupt
  const failure = Cause.squash(cause)
  const known = refusedBy(failure)
  // such as the error of a worker's script
  const { response } = known ??
    refused(500, "internal_error", `the emulator has failed: ${String(failure)}`, { type: "server_error" })
  return Effect.as(
    known === undefined ? Effect.logError("a request to the emulator failed", cause) : Effect.void,
    HttpServerResponse.text(response.body, response)
  )
}
