/** Error responses, in the form of the service. @internal */
import * as HttpApiError from "@effect/platform/HttpApiError"
import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { type Issue, sayIssues, withoutOffers } from "../../queue/internal/request.js"
import { jsonResponse, type WireResponse } from "../../testing/internal/wireResponse.js"

/** @internal */
export class Refused extends Data.TaggedError("Refused")<{ readonly response: WireResponse }> {}

/** `param` is the field that is at fault. @internal */
export const refused = (
  status: number,
  code: string,
  message: string,
  { headers, param, type = "invalid_request_error" }: {
    readonly type?: string
    readonly param?: string | undefined
    readonly headers?: WireResponse["headers"]
  } = {}
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

const isDecodeError = Schema.is(HttpApiError.HttpApiDecodeError)

/**
 * Returns the response to a failed request. The API builder's own responses differ in form from the service's.
 *
 * @internal
 */
export const toResponse = (cause: Cause.Cause<unknown>): Effect.Effect<HttpServerResponse.HttpServerResponse> => {
  if (Cause.isInterrupted(cause)) return Effect.interrupt
  const failure = Cause.squash(cause)
  const respond = ({ response }: Refused) => Effect.succeed(HttpServerResponse.text(response.body, response))
  if (failure instanceof Refused) return respond(failure)
  if (isDecodeError(failure)) return respond(notAsExpected(failure.issues))
  // such as the error of a worker's script
  return Effect.zipRight(
    Effect.logError("a request to the emulator failed", cause),
    respond(refused(500, "internal_error", `the emulator has failed: ${String(failure)}`, { type: "server_error" }))
  )
}
