import type { JobRef } from "../../model/Job.js"

/**
 * How the service says no: the status and the body of its answer.
 *
 * @internal
 */
export interface Refusal {
  readonly status: number
  readonly body: { readonly code: string; readonly type: string; readonly message: string; readonly param?: string }
}

/** @internal */
export const unauthorized: Refusal = {
  status: 401,
  body: { code: "invalid_api_key", type: "authentication_error", message: "a bearer token that is good is needed" }
}

/** @internal */
export const noSuchJob = (job: JobRef): Refusal => ({
  status: 404,
  body: { code: "job_not_found", type: "not_found_error", message: `no job ${job.requestId} of model ${job.model}` }
})
