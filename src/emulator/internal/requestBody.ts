/**
 * Reads a request body to its end, up to a maximum size, and decodes it.
 *
 * @internal
 */
import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as Effect from "effect/Effect"
import * as ParseResult from "effect/ParseResult"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { invalid, notAsExpected, tooLarge } from "./errorResponses.js"
import type { Refused } from "./errorResponses.js"

// How much of a body that is too large is read nevertheless, so that its sender can read the response.
const drainBytes = 64 * 1024 * 1024

const readBody = (
  request: HttpServerRequest.HttpServerRequest,
  maxBodyBytes: number
): Effect.Effect<string, Refused> =>
  Effect.suspend(() => {
    const chunks: Array<Uint8Array> = []
    let size = 0
    return request.stream.pipe(
      Stream.tap((chunk) =>
        Effect.sync(() => {
          size += chunk.length
          if (size <= maxBodyBytes) chunks.push(chunk)
          else chunks.length = 0
        })
      ),
      Stream.takeUntil(() => size > Math.max(drainBytes, maxBodyBytes)),
      Stream.runDrain,
      Effect.mapError(() => invalid("incomplete_body", "the body broke off")),
      Effect.flatMap(() =>
        size > maxBodyBytes
          ? Effect.fail(tooLarge(maxBodyBytes))
          : Effect.succeed(new TextDecoder().decode(Buffer.concat(chunks)))
      )
    )
  })

const parseJson = Schema.decode(Schema.parseJson())

// A value of some thousand levels can be parsed, but not written in a response.
const maxLevels = 1_000

const isDeeper = (value: unknown, levels: number): boolean =>
  typeof value === "object" && value !== null &&
  (levels === 0 || Object.values(value).some((value) => isDeeper(value, levels - 1)))

/** @internal */
export const reader = <A, I>(schema: Schema.Schema<A, I>) => {
  const decode = Schema.decodeUnknown(schema, { errors: "all" })
  return (request: HttpServerRequest.HttpServerRequest, maxBodyBytes: number): Effect.Effect<A, Refused> =>
    readBody(request, maxBodyBytes).pipe(
      Effect.flatMap((text) =>
        Effect.mapError(
          parseJson(text),
          () => invalid("invalid_json", text.trim() === "" ? "the body is empty" : "the body is not JSON")
        )
      ),
      Effect.filterOrFail(
        Predicate.isRecord,
        () => invalid("invalid_request", "the body must be a JSON object")
      ),
      Effect.filterOrFail(
        (value) => !isDeeper(value, maxLevels),
        () => invalid("invalid_request", `the body must not be nested deeper than ${maxLevels} levels`)
      ),
      Effect.flatMap((value) =>
        Effect.mapError(
          decode(value),
          (error) => notAsExpected(ParseResult.ArrayFormatter.formatErrorSync(error))
        )
      )
    )
}
