import * as Duration from "effect/Duration"
import type { JobRef } from "../../model/Job.js"

/** An error response of the service: its status and its body. @internal */
export interface ErrorResponse {
  readonly status: number
  readonly body: { readonly code: string; readonly type: string; readonly message: string; readonly param?: string }
}

/** @internal */
export const unauthorized: ErrorResponse = {
  status: 401,
  body: { code: "invalid_api_key", type: "authentication_error", message: "a bearer token that is good is needed" }
}

/** @internal */
export const notFound = (message: string): ErrorResponse["body"] => ({
  code: "job_not_found",
  type: "not_found_error",
  message
})

/** @internal */
export const noSuchJob = (job: JobRef): ErrorResponse => ({
  status: 404,
  body: notFound(`no job ${job.requestId} of model ${job.model}`)
})

/**
 * Returns the headers that ask for a pause: `Retry-After` in whole seconds, and `retry-after-ms`, which some gateways
 * send, if the pause has a fraction of a second.
 *
 * @internal
 */
export const retryAfterHeaders = (
  retryAfter: Duration.DurationInput | undefined
): { readonly [name: string]: string } => {
  if (retryAfter === undefined) return {}
  const millis = Math.ceil(Duration.toMillis(retryAfter))
  return {
    "retry-after": String(Math.ceil(millis / 1000)),
    ...(millis % 1000 !== 0 && { "retry-after-ms": String(millis) })
  }
}
