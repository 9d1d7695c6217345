/**
 * The client side of Together AI's queue API, defined once: the client uses its paths and schemas, the emulator
 * implements it, and the OpenAPI document is generated from it.
 *
 * @since 0.1.0
 */
import * as HttpApi from "@effect/platform/HttpApi"
import * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import * as HttpApiMiddleware from "@effect/platform/HttpApiMiddleware"
import * as HttpApiSecurity from "@effect/platform/HttpApiSecurity"
import * as OpenApi from "@effect/platform/OpenApi"
import { endpoints, errorBody } from "./internal/wire.js"

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

// `HttpApi` adds an error of its own for requests that do not decode. This API responds to them with the service's
// error body, as to any other invalid request.
const withoutDecodeError = (document: Record<string, unknown>): Record<string, unknown> => {
  // the document being built has this form
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
 * The endpoints below the base URL, which is `https://api.together.ai/v1` for the real service.
 *
 * @since 0.1.0
 * @category api
 */
export const QueueApi = HttpApi.make("effect-queue-status")
  .add(
    HttpApiGroup.make("queue")
      .add(endpoints.status)
      .add(endpoints.submit)
      .add(endpoints.cancel)
      .add(endpoints.clear)
      .add(endpoints.metrics)
      .middleware(Authorization)
  )
  .annotate(OpenApi.Title, "Queue")
  .annotate(OpenApi.Version, "1")
  .annotate(OpenApi.Description, "The client endpoints of Together AI's queue API.")
  .annotate(OpenApi.Transform, withoutDecodeError)

/**
 * Returns the OpenAPI 3.1 document of the API.
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
