/**
 * How the streams of a gateway are sent. By default the body of a response is a stream of bytes, which every server can
 * send. A server with a cheaper way provides that; for the one of Node, see `NodeGateway` of `effect-queue-status/node`.
 *
 * @since 0.1.0
 */
import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import { ClientBuffer } from "./internal/clientBuffer.js"

/**
 * The bytes for one client.
 *
 * @since 0.1.0
 * @category models
 */
export interface Output {
  /** Writes bytes at once, or keeps them until the client has taken those before. They are not changed later. */
  readonly write: (bytes: Uint8Array) => void
  /** Whether the client has taken all bytes. */
  readonly isIdle: boolean
  /** Waits until the client has taken enough of the bytes for more. */
  readonly room: Effect.Effect<void>
}

/**
 * Returns the body of the response to a request. `write` writes it, and ends when it does. The scope is that of the request.
 *
 * @since 0.1.0
 * @category models
 */
export type Send = (
  request: HttpServerRequest.HttpServerRequest,
  write: (output: Output) => Effect.Effect<void>
) => Effect.Effect<Stream.Stream<Uint8Array>, never, Scope.Scope>

const stream: Send = (_, write) =>
  Effect.suspend(() => {
    const buffer = new ClientBuffer()
    // after a defect the client connects again
    const written = Effect.ensuring(write(buffer), Effect.sync(() => buffer.end()))
    return Effect.as(Effect.forkScoped(written), buffer.stream)
  })

/**
 * How the streams are sent. Defaults to streams of bytes.
 *
 * @since 0.1.0
 * @category context
 */
export class GatewayOutput extends Context.Reference<GatewayOutput>()("effect-queue-status/GatewayOutput", {
  defaultValue: (): Send => stream
}) {}
