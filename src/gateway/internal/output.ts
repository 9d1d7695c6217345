/**
 * How streams are sent. By default the body of a response is a stream of bytes, which every server can send. A server with a
 * cheaper way provides that, as `NodeGateway` does.
 */
import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as Channel from "effect/Channel"
import * as Chunk from "effect/Chunk"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { forkScoped } from "../../queue/internal/fiber.js"

/** The bytes for one client. @internal */
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
 * @internal
 */
export type Send = (
  request: HttpServerRequest.HttpServerRequest,
  write: (output: Output) => Effect.Effect<void>
) => Effect.Effect<Stream.Stream<Uint8Array>, never, Scope.Scope>

// No more is read from the watcher while the client has so many bytes to take.
const maxBuffered = 64 * 1024

const nothing = () => {}

/** The bytes of a stream that its client has not taken yet. */
class ClientBuffer implements Output {
  private chunks: Array<Uint8Array> = []
  private size = 0
  private isEnded = false
  /** Wakes what waits for bytes. Again, it has no effect. */
  private wakeReader = nothing
  /** Wakes what waits for room. */
  private wakeWriter = nothing

  write(bytes: Uint8Array): void {
    this.chunks.push(bytes)
    this.size += bytes.length
    this.wakeReader()
  }

  get isIdle(): boolean {
    return this.size === 0
  }

  end(): void {
    this.isEnded = true
    this.wakeReader()
  }

  /** The bytes, up to the end. A channel alone, to save memory: there are many of these. */
  get stream(): Stream.Stream<Uint8Array> {
    const loop: Channel.Channel<Chunk.Chunk<Uint8Array>> = Channel.flatMap(
      Channel.fromEffect(this.take),
      (chunks) => Chunk.isEmpty(chunks) ? Channel.void : Channel.flatMap(Channel.write(chunks), () => loop)
    )
    return Stream.fromChannel(loop)
  }

  /** Waits for bytes, and takes all. There are none at the end. */
  private get take(): Effect.Effect<Chunk.Chunk<Uint8Array>> {
    return Effect.async((resume) => {
      this.wakeReader = () => resume(Effect.sync(() => this.takeAll()))
      if (this.size > 0 || this.isEnded) this.wakeReader()
    })
  }

  private takeAll(): Chunk.Chunk<Uint8Array> {
    const { chunks } = this
    this.chunks = []
    this.size = 0
    this.wakeWriter()
    return Chunk.unsafeFromArray(chunks)
  }

  get room(): Effect.Effect<void> {
    return this.size < maxBuffered ? Effect.void : Effect.async((resume) => {
      this.wakeWriter = () => resume(Effect.void)
      if (this.size < maxBuffered) this.wakeWriter()
    })
  }
}

const stream: Send = (_, write) =>
  Effect.suspend(() => {
    const buffer = new ClientBuffer()
    const written = Effect.ensuring(write(buffer), Effect.sync(() => buffer.end()))
    return Effect.as(forkScoped(written), buffer.stream)
  })

/** @internal */
export class GatewayOutput extends Context.Reference<GatewayOutput>()("effect-queue-status/GatewayOutput", {
  defaultValue: (): Send => stream
}) {}
