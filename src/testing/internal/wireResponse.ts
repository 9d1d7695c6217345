/** The responses between a client and the queue, and those of the service to an error. @internal */
import * as Duration from "effect/Duration"
import type { JobRef } from "../../model/Job.js"

/** @internal */
export interface WireResponse {
  readonly status: number
  readonly headers: { readonly [name: string]: string }
  readonly body: string
  /** What follows the body instead of the end of the response. */
  readonly then?: "breaks" | "stalls" | undefined
}

/** Whether a response with this status has no body in HTTP. @internal */
export const isBodiless = (status: number): boolean => status === 204 || status === 205 || status === 304

/** @internal */
export const jsonResponse = (status: number, body: unknown, headers: WireResponse["headers"] = {}): WireResponse => ({
  status,
  headers: { "content-type": "application/json", ...headers },
  body: JSON.stringify(body)
})

/** @internal */
export const unauthorized = jsonResponse(401, {
  code: "invalid_api_key",
  type: "authentication_error",
  message: "a bearer token that is good is needed"
})

/** @internal */
export const notFound = (message: string): WireResponse =>
  jsonResponse(404, { code: "job_not_found", type: "not_found_error", message })

/** @internal */
export const noSuchJob = (job: JobRef): WireResponse => notFound(`no job ${job.requestId} of model ${job.model}`)

/**
 * Returns the headers that ask for a pause: `Retry-After` in whole seconds, and `retry-after-ms`, which some gateways
 * send, if the pause has a fraction of a second.
 *
 * @internal
 */
export const retryAfterHeaders = (retryAfter: Duration.DurationInput | undefined): WireResponse["headers"] => {
  if (retryAfter === undefined) return {}
  // as digits: neither `Infinity` nor `1e+22` is a header that a client reads
  const millis = Math.min(Number.MAX_SAFE_INTEGER, Math.ceil(Duration.toMillis(retryAfter)))
  return {
    "retry-after": String(Math.ceil(millis / 1000)),
    ...(millis % 1000 !== 0 && { "retry-after-ms": String(millis) })
  }
}
