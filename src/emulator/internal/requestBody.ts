/** Reads a request body to its end, up to a maximum size, and decodes it. @internal */
import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as Effect from "effect/Effect"
import * as ParseResult from "effect/ParseResult"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { notAsExpected, type Refused, refused } from "./errorResponses.js"

const maxBodyBytes = 8 * 1024 * 1024

// How much of a body that is too large is read nevertheless, so that its sender can read the response.
const drainBytes = 64 * 1024 * 1024

const readBody = (request: HttpServerRequest.HttpServerRequest): Effect.Effect<string, Refused> =>
  Effect.suspend(() => {
    const chunks: Array<Uint8Array> = []
    let size = 0
    return request.stream.pipe(
      Stream.takeUntil((chunk) => {
        size += chunk.length
        if (size <= maxBodyBytes) chunks.push(chunk)
        else chunks.length = 0
        return size > drainBytes
      }),
      Stream.runDrain,
      Effect.mapError(() => refused(400, "incomplete_body", "the body broke off")),
      Effect.filterOrFail(
        () => size <= maxBodyBytes,
        () => refused(413, "body_too_large", `the body must not be larger than ${maxBodyBytes} bytes`)
      ),
      Effect.map(() => new TextDecoder().decode(Buffer.concat(chunks)))
    )
  })

const parseJson = Schema.decode(Schema.parseJson())

// A value of some thousand levels can be parsed, but not written in a response.
const maxLevels = 1_000

const isDeeper = (value: unknown, levels: number): boolean =>
  typeof value === "object" && value !== null &&
  (levels === 0 || Object.values(value).some((value) => isDeeper(value, levels - 1)))

const invalid = (message: string) => refused(400, "invalid_request", message)

/**
 * Returns a handler of requests with a body. It dies with `Refused`, because the handlers of an API fail with the errors
 * of the API only.
 *
 * @internal
 */
export const withBody = <A, I, B, R>(schema: Schema.Schema<A, I>, handle: (body: A) => Effect.Effect<B, never, R>) => {
  const decode = Schema.decodeUnknown(schema, { errors: "all" })
  const read = Effect.fnUntraced(function*(request: HttpServerRequest.HttpServerRequest) {
    const text = yield* readBody(request)
    const value = yield* Effect.mapError(
      parseJson(text),
      () => refused(400, "invalid_json", text.trim() === "" ? "the body is empty" : "the body is not JSON")
    )
    if (!Predicate.isRecord(value)) return yield* invalid("the body must be a JSON object")
    if (isDeeper(value, maxLevels)) {
      return yield* invalid(`the body must not be nested deeper than ${maxLevels} levels`)
    }
    return yield* Effect.mapError(
      decode(value),
      (error) => notAsExpected(ParseResult.ArrayFormatter.formatErrorSync(error))
    )
  })
  return ({ request }: { readonly request: HttpServerRequest.HttpServerRequest }): Effect.Effect<B, never, R> =>
    Effect.flatMap(Effect.orDie(read(request)), handle)
}
