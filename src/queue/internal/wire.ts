/**
 * The paths and bodies of the client side of the queue API. `QueueApi` makes an `HttpApi` of them, which takes more time to
 * load than the rest of the client.
 *
 * @internal
 */
import * as Schema from "effect/Schema"
import { JsonObject, ModelName, RequestId } from "../../model/Job.js"

/** @internal */
export const paths = {
  status: "/queue/status",
  submit: "/queue/submit",
  cancel: "/queue/cancel",
  clear: "/queue/clear",
  metrics: "/queue/metrics"
} as const

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

/** The response to a cancel of a job that was pending. @internal */
export const CancelResponse = Schema.Struct({ status: Schema.Literal("canceled") }).annotations({
  identifier: "CancelResponse"
})

/** The response to a cancel of a job that was not pending (HTTP 409): its status. @internal */
export const CancelConflict = Schema.Struct({ status: Schema.NonEmptyString }).annotations({
  identifier: "CancelConflict",
  description: "The job was not pending: running, done, failed, or canceled before."
})

/** @internal */
export const ClearRequest = Schema.Struct({ model: ModelName }).annotations({ identifier: "ClearRequest" })

/** @internal */
export const ClearResponse = Schema.Struct({ canceledCount: renamed(Schema.NonNegativeInt, "canceled_count") })
  .annotations({ identifier: "ClearResponse" })

/** The number of waiting and running jobs of a model. @internal */
export const Metrics = Schema.Struct({
  running: renamed(Schema.NonNegativeInt, "messages_running"),
  waiting: renamed(Schema.NonNegativeInt, "messages_waiting"),
  total: renamed(Schema.NonNegativeInt, "total_jobs")
}).annotations({ identifier: "QueueMetrics" })

/** The body of every error response. @internal */
export const ErrorBody = Schema.Struct({
  code: Schema.optional(Schema.String),
  message: Schema.optional(Schema.String),
  param: Schema.optional(Schema.String),
  type: Schema.optional(Schema.String)
})
