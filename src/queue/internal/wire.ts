/**
 * The bodies and endpoints of the client side of the queue API.
 *
 * @internal
 */
import * as HttpApiEndpoint from "@effect/platform/HttpApiEndpoint"
import * as HttpApiSchema from "@effect/platform/HttpApiSchema"
import * as OpenApi from "@effect/platform/OpenApi"
import * as Schema from "effect/Schema"
import { JobStatus, JsonObject, ModelName, RequestId } from "../../model/Job.js"

/**
 * The headers of every request. Without the second, a service or gateway may compress, and clients other than `fetch`
 * do not decompress.
 *
 * @internal
 */
export const requestHeaders = { "accept": "application/json", "accept-encoding": "identity" }

/** The headers of a request that reads. @internal */
export const readHeaders = { ...requestHeaders, "cache-control": "no-store" }

/** @internal */
export const renamed = <A, I>(schema: Schema.Schema<A, I>, wire: string) =>
  Schema.propertySignature(schema).pipe(Schema.fromKey(wire))

/**
 * The body of `POST /queue/submit`. Updates of a worker are merged into `info`. Jobs of a higher `priority` go first.
 *
 * @internal
 */
export const SubmitRequest = Schema.Struct({
  model: ModelName,
  payload: JsonObject,
  info: Schema.optional(Schema.NullOr(JsonObject)),
  priority: Schema.optional(Schema.NullOr(Schema.Int))
}).annotations({ identifier: "SubmitRequest" })

/** @internal */
export const SubmitResponse = Schema.Struct({ requestId: RequestId }).annotations({ identifier: "SubmitResponse" })

/** @internal */
export const CancelRequest = Schema.Struct({ model: ModelName, requestId: renamed(RequestId, "request_id") })
  .annotations({ identifier: "CancelRequest" })

/**
 * The response to a cancel of a job that was pending.
 *
 * @internal
 */
export const CancelResponse = Schema.Struct({ status: Schema.Literal("canceled") }).annotations({
  identifier: "CancelResponse"
})

/**
 * The response to a cancel of a job that was not pending (HTTP 409): its status.
 *
 * @internal
 */
export const CancelConflict = Schema.Struct({ status: Schema.NonEmptyString }).annotations(HttpApiSchema.annotations({
  status: 409,
  identifier: "CancelConflict",
  description: "The job was not pending: running, done, failed, or canceled before."
}))

/** @internal */
export const ClearRequest = Schema.Struct({ model: ModelName }).annotations({ identifier: "ClearRequest" })

/** @internal */
export const ClearResponse = Schema.Struct({ canceledCount: renamed(Schema.NonNegativeInt, "canceled_count") })
  .annotations({ identifier: "ClearResponse" })

/**
 * The number of waiting and running jobs of a model.
 *
 * @internal
 */
export const Metrics = Schema.Struct({
  running: renamed(Schema.NonNegativeInt, "messages_running"),
  waiting: renamed(Schema.NonNegativeInt, "messages_waiting"),
  total: renamed(Schema.NonNegativeInt, "total_jobs")
}).annotations({ identifier: "QueueMetrics" })

/**
 * The body of every error response.
 *
 * @internal
 */
export const ErrorBody = Schema.Struct({
  code: Schema.optional(Schema.String),
  message: Schema.optional(Schema.String),
  param: Schema.optional(Schema.String),
  type: Schema.optional(Schema.String)
})

/** @internal */
export const errorBody = (status: number) =>
  ErrorBody.annotations(HttpApiSchema.annotations({
    status,
    identifier: "QueueError",
    description: "`type` is a category, such as invalid_request_error"
  }))

const status = HttpApiEndpoint.get("status", "/queue/status")
  .setUrlParams(Schema.Struct({ request_id: RequestId, model: ModelName }))
  .addSuccess(JobStatus)
  .addError(errorBody(400))
  .addError(errorBody(404))
  .addError(errorBody(500))
  .annotate(OpenApi.Description, "The status of a job.")

const submit = HttpApiEndpoint.post("submit", "/queue/submit")
  .setPayload(SubmitRequest)
  .addSuccess(SubmitResponse)
  .addError(errorBody(400))
  .addError(errorBody(413))
  .addError(errorBody(500))
  .annotate(OpenApi.Description, "Adds a job to the queue of a model.")

const cancel = HttpApiEndpoint.post("cancel", "/queue/cancel")
  .setPayload(CancelRequest)
  .addSuccess(CancelResponse)
  .addSuccess(CancelConflict)
  .addError(errorBody(400))
  .addError(errorBody(404))
  .addError(errorBody(413))
  .addError(errorBody(500))
  .annotate(OpenApi.Description, "Cancels a job that is pending; any other is left as it is.")

const clear = HttpApiEndpoint.post("clear", "/queue/clear")
  .setPayload(ClearRequest)
  .addSuccess(ClearResponse)
  .addError(errorBody(400))
  .addError(errorBody(404))
  .addError(errorBody(413))
  .addError(errorBody(500))
  .annotate(OpenApi.Description, "Cancels every pending job of a model.")

const metrics = HttpApiEndpoint.get("metrics", "/queue/metrics")
  .setUrlParams(Schema.Struct({ model: ModelName }))
  .addSuccess(Metrics)
  .addError(errorBody(400))
  .addError(errorBody(500))
  .annotate(OpenApi.Description, "How many jobs of a model are waiting and running.")

/** @internal */
export const endpoints = { status, submit, cancel, clear, metrics }
