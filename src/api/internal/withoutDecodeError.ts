import type * as HttpApi from "@effect/platform/HttpApi"
import type * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import * as OpenApi from "@effect/platform/OpenApi"

const transform = (document: Record<string, unknown>): Record<string, unknown> => {
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
 * `HttpApi` adds an error of its own for requests that do not decode. The service responds to them with its error body, as to
 * any other invalid request. The annotation is not that of `QueueApi`: groups inherit it where an app adds that to its own.
 *
 * @internal
 */
export const withoutDecodeError = <Id extends string, Groups extends HttpApiGroup.HttpApiGroup.Any, E, R>(
  api: HttpApi.HttpApi<Id, Groups, E, R>
): HttpApi.HttpApi<Id, Groups, E, R> => api.annotate(OpenApi.Transform, transform)
