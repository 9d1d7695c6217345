/**
 * The client side of Together AI's queue API, stated once: the client takes its paths and schemas from here, the emulator
 * implements it, and the OpenAPI document is generated from it.
 *
 * @since 0.1.0
 */
import * as HttpApi from "@effect/platform/HttpApi"
import * as HttpApiEndpoint from "@effect/platform/HttpApiEndpoint"
import * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import * as HttpApiMiddleware from "@effect/platform/HttpApiMiddleware"
import * as HttpApiSchema from "@effect/platform/HttpApiSchema"
import * as HttpApiSecurity from "@effect/platform/HttpApiSecurity"
import * as OpenApi from "@effect/platform/OpenApi"
import * as Schema from "effect/Schema"
import { JobStatus, JsonObject, ModelName, RequestId } from "../model/Job.js"

const renamed = <A, I>(schema: Schema.Schema<A, I>, wire: string) =>
  Schema.propertySignature(schema).pipe(Schema.fromKey(wire))

/**
 * What a `POST /queue/submit` asks for. `info` is kept with the job, and what its worker reports is merged into it;
 * a higher `priority` goes first (0 unless given).
 *
 * @since 0.1.0
 * @category schemas
 */
export const SubmitRequest = Schema.Struct({
  model: ModelName,
  payload: JsonObject,
  info: Schema.optional(Schema.NullOr(JsonObject)),
  priority: Schema.optional(Schema.NullOr(Schema.Int))
}).annotations({ identifier: "SubmitRequest" })

/**
 * @since 0.1.0
 * @category schemas
 */
export const SubmitAnswer = Schema.Struct({ requestId: RequestId }).annotations({ identifier: "SubmitAnswer" })

/**
 * @since 0.1.0
 * @category schemas
 */
export const CancelRequest = Schema.Struct({ model: ModelName, requestId: renamed(RequestId, "request_id") })
  .annotations({ identifier: "CancelRequest" })

/**
 * The answer to a cancel that was obeyed: the job was pending and is now canceled.
 *
 * @since 0.1.0
 * @category schemas
 */
export const CancelDone = Schema.Struct({ status: Schema.Literal("canceled") }).annotations({
  identifier: "CancelDone"
})

/**
 * The answer to a cancel that came too late (HTTP 409): the status that the job is in, and stays in.
 *
 * @since 0.1.0
 * @category schemas
 */
export const CancelRefused = Schema.Struct({ status: Schema.NonEmptyString }).annotations(HttpApiSchema.annotations({
  status: 409,
  identifier: "CancelRefused",
  description: "The job was not pending: running, done, failed, or canceled before."
}))

/**
 * @since 0.1.0
 * @category schemas
 */
export const ClearRequest = Schema.Struct({ model: ModelName }).annotations({ identifier: "ClearRequest" })

/**
 * @since 0.1.0
 * @category schemas
 */
export const ClearAnswer = Schema.Struct({ canceledCount: renamed(Schema.NonNegativeInt, "canceled_count") })
  .annotations({ identifier: "ClearAnswer" })

/**
 * How many jobs of a model are waiting and running.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Metrics = Schema.Struct({
  running: renamed(Schema.NonNegativeInt, "messages_running"),
  waiting: renamed(Schema.NonNegativeInt, "messages_waiting"),
  total: renamed(Schema.NonNegativeInt, "total_jobs")
}).annotations({ identifier: "QueueMetrics" })

/**
 * The body of every answer that is an error.
 *
 * @since 0.1.0
 * @category schemas
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

/**
 * Every call carries a bearer token.
 *
 * @since 0.1.0
 * @category security
 */
export class Authorization extends HttpApiMiddleware.Tag<Authorization>()(
  "effect-queue-status/QueueApi/Authorization",
  { failure: errorBody(401), security: { bearer: HttpApiSecurity.bearer } }
) {}

const status = HttpApiEndpoint.get("status", "/queue/status")
  .setUrlParams(Schema.Struct({ request_id: RequestId, model: ModelName }))
  .addSuccess(JobStatus)
  .addError(errorBody(400))
  .addError(errorBody(404))
  .addError(errorBody(500))
  .annotate(OpenApi.Description, "The status of a job.")

const submit = HttpApiEndpoint.post("submit", "/queue/submit")
  .setPayload(SubmitRequest)
  .addSuccess(SubmitAnswer)
  .addError(errorBody(400))
  .addError(errorBody(413))
  .addError(errorBody(500))
  .annotate(OpenApi.Description, "Adds a job to the queue of a model.")

const cancel = HttpApiEndpoint.post("cancel", "/queue/cancel")
  .setPayload(CancelRequest)
  .addSuccess(CancelDone)
  .addSuccess(CancelRefused)
  .addError(errorBody(400))
  .addError(errorBody(404))
  .addError(errorBody(413))
  .addError(errorBody(500))
  .annotate(OpenApi.Description, "Cancels a job that is pending; any other is left as it is.")

const clear = HttpApiEndpoint.post("clear", "/queue/clear")
  .setPayload(ClearRequest)
  .addSuccess(ClearAnswer)
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

// `HttpApi` gives every API an error of its own for requests that do not decode. On this wire such a request is answered
// with the service's error body, like any other bad one.
const withoutDecodeError = (document: Record<string, unknown>): Record<string, unknown> => {
  // what is being built is a document of this form
  const { components, paths } = document as unknown as OpenApi.OpenAPISpec
  const { HttpApiDecodeError: _error, Issue: _issue, PropertyKey: _key, ...schemas } = components.schemas
  for (const path of Object.values(paths)) {
    for (const operation of Object.values(path)) {
      const refused = operation.responses[401]
      if (refused !== undefined) operation.responses[400] = refused
    }
  }
  return { ...document, components: { ...components, schemas } }
}

/**
 * The endpoints below the base URL, `https://api.together.ai/v1` for the real service.
 *
 * @since 0.1.0
 * @category api
 */
export const QueueApi = HttpApi.make("effect-queue-status")
  .add(
    HttpApiGroup.make("queue")
      .add(status)
      .add(submit)
      .add(cancel)
      .add(clear)
      .add(metrics)
      .middleware(Authorization)
  )
  .annotate(OpenApi.Title, "Queue")
  .annotate(OpenApi.Version, "1")
  .annotate(OpenApi.Description, "The client endpoints of Together AI's queue API.")
  .annotate(OpenApi.Transform, withoutDecodeError)

/**
 * The OpenAPI 3.1 document of the API.
 *
 * @example
 * import { QueueApi } from "effect-queue-status"
 *
 * const paths = Object.keys(QueueApi.openApi().paths)
 *
 * @since 0.1.0
 * @category api
 */
export const openApi = (): OpenApi.OpenAPISpec => OpenApi.fromApi(QueueApi, { additionalPropertiesStrategy: "allow" })
