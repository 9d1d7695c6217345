/**
 * A stream of the events of some jobs to one client. It costs a subscription, a fiber that reads it, and a buffer of
 * bounded size: while a client does not read, the watcher keeps the latest snapshots, from which its events are derived
 * later.
 */
import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
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
import { ClientBuffer } from "./clientBuffer.js"
import { type Encoder, encodeText, type Step } from "./encoder.js"
import { formatCursors, isOpen, type Query } from "./request.js"

/** Turns the notices of a subscription into bytes. */
class Writer {
  /** The cursors of all jobs, if there are several: the id of an event. */
  private readonly cursors: Map<string, string> | undefined
  private readonly failed = new Set<Watch>()
  private watched: number

  constructor(
    readonly buffer: ClientBuffer,
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
    this.buffer.push(this.encoder.end)
    this.buffer.end()
  }

  private writeOne(notice: Notice): void {
    const { encoder, buffer } = this
    switch (notice._tag) {
      case "Sample": {
        const step = encoder.step(notice, this.policy, this.rules)
        return Either.isLeft(step) ? this.fail(notice.watch, step.left) : this.writeStep(notice.watch, step.right)
      }
      case "Trouble":
        return buffer.push(encoder.trouble(notice))
      case "Recovered":
        return buffer.push(encoder.recovered(notice))
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
    if (this.cursors === undefined) return this.buffer.push(bytes)
    const key = keyOf(watch.job)
    for (const { cursor, text } of events) {
      this.cursors.set(key, cursor)
      this.buffer.push(encodeText(this.encoder.format.writeId(formatCursors(this.cursors.values())) + text))
    }
  }

  private fail(watch: Watch, error: WatchError): void {
    this.failed.add(watch)
    this.watched--
    this.buffer.push(this.encoder.failed(watch.job, error))
  }
}

/** Sends heartbeats to all connections of a gateway, by one timer, which runs only while there is one. @internal */
export class Heartbeats {
  private readonly buffers = new Map<ClientBuffer, Uint8Array>()
  private timer: Fiber.Fiber | undefined

  constructor(private readonly interval: Duration.Duration) {}

  for(buffer: ClientBuffer, heartbeat: Uint8Array): Effect.Effect<void, never, Scope.Scope> {
    return Effect.acquireRelease(
      Effect.map(Fiber.runtime, (runtime) => {
        this.buffers.set(buffer, heartbeat)
        this.timer ??= Fiber.fork(runtime, Effect.interruptible(Effect.forever(this.beat)))
      }),
      () =>
        Effect.sync(() => {
          this.buffers.delete(buffer)
          if (this.buffers.size > 0 || this.timer === undefined) return
          Fiber.interrupt(this.timer)
          this.timer = undefined
        })
    )
  }

  private readonly beat: Effect.Effect<void> = Effect.suspend(() =>
    Effect.map(Effect.sleep(this.interval), () => {
      for (const [buffer, heartbeat] of this.buffers) buffer.pushIfIdle(heartbeat)
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
    const buffer = new ClientBuffer()
    buffer.push(yield* encoder.format.begin)
    const writer = new Writer(buffer, query, encoder, policy, yield* rules)
    if (query.jobs.length === 1) {
      const [{ from, job }] = query.jobs
      yield* subscription.add(job, from)
      writer.write(yield* untilKnown(subscription))
    } else {
      // some may have news before the last one is added; a watcher that is closed adds none
      yield* Effect.forEach(
        query.jobs.filter(isOpen),
        ({ from, job }) => subscription.add(job, from),
        { discard: true }
      ).pipe(Effect.onError(() => Effect.sync(() => buffer.end())), Effect.forkScoped)
    }
    yield* heartbeats.for(buffer, encoder.format.heartbeat)
    const pump: Effect.Effect<never> = Effect.flatMap(subscription.next, (notices) => {
      writer.write(notices)
      return Effect.zipRight(buffer.room, pump)
    })
    // after a defect the client connects again
    yield* Effect.forkScoped(Effect.ensuring(pump, Effect.sync(() => buffer.end())))
    return buffer.stream
  })

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
