/**
 * The bytes of a stream that its client has not taken yet.
 *
 * @internal
 */
import * as Channel from "effect/Channel"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"

// No more is read from the watcher while the client has so many bytes to take.
const maxBuffered = 64 * 1024

/** @internal */
export class ClientBuffer {
  private chunks: Array<Uint8Array> = []
  private size = 0
  private isEnded = false
  private reader: (() => void) | undefined = undefined
  private writer: (() => void) | undefined = undefined

  write(bytes: Uint8Array): void {
    this.chunks.push(bytes)
    this.size += bytes.length
    this.wake()
  }

  get isIdle(): boolean {
    return this.size === 0
  }

  end(): void {
    this.isEnded = true
    this.wake()
  }

  private wake(): void {
    const { reader } = this
    this.reader = undefined
    reader?.()
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
    return Effect.suspend(() => {
      const { chunks, writer } = this
      if (chunks.length === 0 && !this.isEnded) return Effect.zipRight(this.awaitBytes, this.take)
      this.chunks = []
      this.size = 0
      this.writer = undefined
      writer?.()
      return Effect.succeed(Chunk.unsafeFromArray(chunks))
    })
  }

  private get awaitBytes(): Effect.Effect<void> {
    return Effect.async((resume) => {
      if (this.size > 0 || this.isEnded) return resume(Effect.void)
      this.reader = () => resume(Effect.void)
    })
  }

  get room(): Effect.Effect<void> {
    return this.size < maxBuffered ? Effect.void : Effect.async((resume) => {
      if (this.size < maxBuffered) return resume(Effect.void)
      this.writer = () => resume(Effect.void)
    })
  }
}
