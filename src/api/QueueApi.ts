/**
 * The client side of Together AI's queue API, defined once: the client uses its paths and schemas, the emulator
 * implements it, and the OpenAPI document is generated from it.
 *
 * @since 0.1.0
 */
import * as HttpApi from "@effect/platform/HttpApi"
import * as HttpApiEndpoint from "@effect/platform/HttpApiEndpoint"
import * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import * as HttpApiMiddleware from "@effect/platform/HttpApiMiddleware"
import * as HttpApiSecurity from "@effect/platform/HttpApiSecurity"
import * as OpenApi from "@effect/platform/OpenApi"
import * as Schema from "effect/Schema"
import { JobStatus, ModelName, RequestId } from "../model/Job.js"
import * as Wire from "../queue/internal/wire.js"
import { errorBody } from "./internal/errorBody.js"
import { withoutDecodeError } from "./internal/withoutDecodeError.js"

/**
 * Requires a bearer token in every call.
 *
 * @since 0.1.0
 * @category security
 */
export class Authorization extends HttpApiMiddleware.Tag<Authorization>()(
  "effect-queue-status/QueueApi/Authorization",
  { failure: errorBody(401), security: { bearer: HttpApiSecurity.bearer } }
) {}

const status = HttpApiEndpoint.get("status", Wire.paths.status)
  .setUrlParams(Schema.Struct({ request_id: RequestId, model: ModelName }))
  .addSuccess(JobStatus)
  .addError(errorBody(404))
  .annotate(OpenApi.Description, "The status of a job.")

const submit = HttpApiEndpoint.post("submit", Wire.paths.submit)
  .setPayload(Wire.SubmitRequest)
  .addSuccess(Wire.SubmitResponse)
  .addError(errorBody(413))
  .annotate(OpenApi.Description, "Adds a job to the queue of a model.")

const cancel = HttpApiEndpoint.post("cancel", Wire.paths.cancel)
  .setPayload(Wire.CancelRequest)
  .addSuccess(Wire.CancelResponse)
  .addSuccess(Wire.CancelConflict, { status: 409 })
  .addError(errorBody(404))
  .addError(errorBody(413))
  .annotate(OpenApi.Description, "Cancels a job that is pending; any other is left as it is.")

const clear = HttpApiEndpoint.post("clear", Wire.paths.clear)
  .setPayload(Wire.ClearRequest)
  .addSuccess(Wire.ClearResponse)
  .addError(errorBody(404))
  .addError(errorBody(413))
  .annotate(OpenApi.Description, "Cancels every pending job of a model.")

const metrics = HttpApiEndpoint.get("metrics", Wire.paths.metrics)
  .setUrlParams(Schema.Struct({ model: ModelName }))
  .addSuccess(Wire.Metrics)
  .annotate(OpenApi.Description, "How many jobs of a model are waiting and running.")

/**
 * The endpoints below the base URL, which is `https://api.together.ai/v1` for the real service.
 *
 * @since 0.1.0
 * @category api
 */
export const QueueApi = HttpApi.make("effect-queue-status")
  .add(
    HttpApiGroup.make("queue")
      .addError(errorBody(400))
      .addError(errorBody(500))
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

/**
 * Returns the OpenAPI 3.1 document of the API.
 *
 * @example
 * import { QueueApi } from "effect-queue-status/api"
 *
 * const paths = Object.keys(QueueApi.openApi().paths)
 *
 * @since 0.1.0
 * @category api
 */
export const openApi = (): OpenApi.OpenAPISpec =>
  OpenApi.fromApi(withoutDecodeError(QueueApi), { additionalPropertiesStrategy: "allow" })
