/**
 * A stream of the events of some jobs to one client. It costs a subscription, a fiber that reads it, and a buffer of
 * bounded size: while a client does not read, the watcher keeps the latest snapshots, from which its events are derived
 * later.
 */
import * as Cause from "effect/Cause"
import * as Channel from "effect/Channel"
import * as Chunk from "effect/Chunk"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { keyOf } from "../../model/internal/jobKey.js"
import { type Rules, rules } from "../../model/internal/rules.js"
import { isTransient } from "../../model/QueueError.js"
import type { WatchError } from "../../model/QueueError.js"
import * as Transition from "../../model/Transition.js"
import { Default } from "../../policy/WatchPolicy.js"
import type { WatchPolicy } from "../../policy/WatchPolicy.js"
import * as Fiber from "../../queue/internal/fiber.js"
import { JobWatcher } from "../../watch/JobWatcher.js"
import type { Notice, Subscription, Watch } from "../../watch/JobWatcher.js"
import { type Encoder, encodeText, type Step } from "./encoder.js"
import { formatCursors, isOpen, type Query } from "./request.js"

// No more is read from the watcher while the client has so many bytes to take.
const maxBuffered = 64 * 1024

/** The bytes that a client has not taken yet. @internal */
export class Outbox {
  private chunks: Array<Uint8Array> = []
  private size = 0
  private isEnded = false
  private reader: (() => void) | undefined = undefined
  private writer: (() => void) | undefined = undefined

  push(bytes: Uint8Array): void {
    if (bytes.length === 0) return
    this.chunks.push(bytes)
    this.size += bytes.length
    this.wake()
  }

  /** Adds bytes only if the client has taken everything. */
  pushIfIdle(bytes: Uint8Array): void {
    if (this.size === 0 && !this.isEnded) this.push(bytes)
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

  /** Waits for bytes, and takes all. There are none at the end. */
  get take(): Effect.Effect<Chunk.Chunk<Uint8Array>> {
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

  /** Waits until there is room for more. */
  get room(): Effect.Effect<void> {
    return this.size < maxBuffered ? Effect.void : Effect.async((resume) => {
      if (this.size < maxBuffered) return resume(Effect.void)
      this.writer = () => resume(Effect.void)
    })
  }
}

/** Turns the notices of a subscription into bytes. */
class Writer {
  /** The cursors of all jobs, if there are several: the id of an event. */
  private readonly cursors: Map<string, string> | undefined
  private readonly failed = new Set<Watch>()
  private watched: number

  constructor(
    readonly outbox: Outbox,
    { jobs }: Query,
    private readonly encoder: Encoder,
    private readonly policy: WatchPolicy,
    private readonly rules: Rules
  ) {
    this.watched = jobs.filter(isOpen).length
    this.cursors = jobs.length === 1 ? undefined : new Map(
      jobs.map(({ from, job }) => [keyOf(job), from === undefined ? "" : Transition.formatCursor(from)])
    )
  }

  /** Throws the defect of a watch that dies. */
  write(notices: Iterable<Notice>): void {
    for (const notice of notices) {
      if (!this.failed.has(notice.watch)) this.writeOne(notice)
    }
    if (this.watched > 0) return
    this.outbox.push(this.encoder.end)
    this.outbox.end()
  }

  private writeOne(notice: Notice): void {
    const { encoder, outbox } = this
    switch (notice._tag) {
      case "Sample": {
        const step = encoder.step(notice, this.policy, this.rules)
        return Either.isLeft(step) ? this.fail(notice.watch, step.left) : this.writeStep(notice.watch, step.right)
      }
      case "Trouble":
        return outbox.push(encoder.trouble(notice))
      case "Recovered":
        return outbox.push(encoder.recovered(notice))
      case "Ended": {
        if (Exit.isFailure(notice.exit)) {
          const error = Cause.failureOrCause(notice.exit.cause)
          if (Either.isRight(error)) throw Cause.squash(error.right)
          return this.fail(notice.watch, error.left)
        }
        this.watched--
      }
    }
  }

  private writeStep(watch: Watch, { bytes, cursor, events }: Step): void {
    watch.cursor = cursor
    if (this.cursors === undefined) return this.outbox.push(bytes)
    const key = keyOf(watch.job)
    for (const { cursor, text } of events) {
      this.cursors.set(key, cursor)
      this.outbox.push(encodeText(this.encoder.format.writeId(formatCursors(this.cursors.values())) + text))
    }
  }

  private fail(watch: Watch, error: WatchError): void {
    this.failed.add(watch)
    this.watched--
    this.outbox.push(this.encoder.failed(watch.job, error))
  }
}

/** Sends heartbeats to all connections of a gateway, by one timer, which runs only while there is one. @internal */
export class Heartbeats {
  private readonly outboxes = new Map<Outbox, Uint8Array>()
  private timer: Fiber.Fiber | undefined

  constructor(private readonly interval: Duration.Duration) {}

  for(outbox: Outbox, heartbeat: Uint8Array): Effect.Effect<void, never, Scope.Scope> {
    return Effect.acquireRelease(
      Effect.map(Fiber.runtime, (runtime) => {
        this.outboxes.set(outbox, heartbeat)
        this.timer ??= Fiber.fork(runtime, Effect.interruptible(Effect.forever(this.beat)))
      }),
      () =>
        Effect.sync(() => {
          this.outboxes.delete(outbox)
          if (this.outboxes.size > 0 || this.timer === undefined) return
          Fiber.interrupt(this.timer)
          this.timer = undefined
        })
    )
  }

  private readonly beat: Effect.Effect<void> = Effect.suspend(() =>
    Effect.map(Effect.sleep(this.interval), () => {
      for (const [outbox, heartbeat] of this.outboxes) outbox.pushIfIdle(heartbeat)
    })
  )
}

/**
 * Opens the stream of a request. If it is about one job, fails if that can't be watched: an `EventSource` stops after an
 * error response, but connects again after a stream that reports an error.
 *
 * @internal
 */
export const open = (
  query: Query,
  encoder: Encoder,
  heartbeats: Heartbeats
): Effect.Effect<Stream.Stream<Uint8Array>, WatchError, JobWatcher | Scope.Scope> =>
  Effect.gen(function*() {
    const policy = yield* Default
    const subscription = yield* (yield* JobWatcher).subscribe({ policy, wants: "changes" })
    const outbox = new Outbox()
    outbox.push(yield* encoder.format.begin)
    const writer = new Writer(outbox, query, encoder, policy, yield* rules)
    if (query.jobs.length === 1) {
      const [{ from, job }] = query.jobs
      yield* subscription.add(job, from)
      writer.write(yield* untilKnown(subscription))
    } else {
      // some may have news before the last one is added
      yield* Effect.forkScoped(Effect.forEach(
        query.jobs.filter(isOpen),
        ({ from, job }) => subscription.add(job, from),
        { discard: true }
      ))
    }
    yield* heartbeats.for(outbox, encoder.format.heartbeat)
    const pump: Effect.Effect<never> = Effect.flatMap(subscription.next, (notices) => {
      writer.write(notices)
      return Effect.zipRight(outbox.room, pump)
    })
    // after a defect the client connects again
    yield* Effect.forkScoped(Effect.ensuring(pump, Effect.sync(() => outbox.end())))
    return bytesOf(outbox)
  })

// a channel alone, to save memory: there are many of these
const bytesOf = (outbox: Outbox): Stream.Stream<Uint8Array> => {
  const loop: Channel.Channel<Chunk.Chunk<Uint8Array>> = Channel.flatMap(
    Channel.fromEffect(outbox.take),
    (chunks) => Chunk.isEmpty(chunks) ? Channel.void : Channel.flatMap(Channel.write(chunks), () => loop)
  )
  return Stream.fromChannel(loop)
}

/** Returns the notices up to the first that shows whether the job can be watched. */
const untilKnown = (subscription: Subscription): Effect.Effect<ReadonlyArray<Notice>, WatchError> =>
  Effect.gen(function*() {
    const all: Array<Notice> = []
    while (true) {
      for (const notice of yield* subscription.next) {
        if (notice._tag === "Ended" && all.every(({ _tag }) => _tag !== "Sample")) yield* notice.exit
        all.push(notice)
      }
      if (all.some((notice) => notice._tag !== "Trouble" || isTransient(notice.error))) return all
    }
  })
