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
import * as Scope from "effect/Scope"
import { keyOf } from "../../model/internal/jobKey.js"
import { rules } from "../../model/internal/rules.js"
import { isTransient, type WatchError } from "../../model/QueueError.js"
import * as Transition from "../../model/Transition.js"
import { Default } from "../../policy/WatchPolicy.js"
import { logDefects } from "../../queue/internal/defects.js"
import * as Fiber from "../../queue/internal/fiber.js"
import type { DeriveRules } from "../../watch/internal/notice.js"
import type { Known } from "../../watch/JobStream.js"
import { JobWatcher, type Notice, type Subscription, type Watch } from "../../watch/JobWatcher.js"
import { type Encoder, encodeText, type Step } from "./encoder.js"
import type { Output } from "./output.js"
import { formatCursors, isOpen, type Query } from "./request.js"

/** Turns the notices of a subscription into bytes. */
class Connection {
  /** The cursors of all jobs, if there are several: the id of an event. */
  private readonly cursors: Map<string, string> | undefined
  private readonly failed: Array<Watch> = []
  private watched: number
  /** What is to be written. */
  private bytes: Array<Uint8Array>
  /** What the stream ends with, if it does: nothing after its last event, or the defect of a watch. */
  private end: Effect.Effect<void> | undefined

  constructor(
    { jobs }: Query,
    private readonly subscription: Subscription,
    private readonly encoder: Encoder,
    private readonly rules: DeriveRules,
    begin: Uint8Array
  ) {
    this.watched = jobs.filter(isOpen).length
    this.bytes = [begin]
    this.cursors = jobs.length === 1 ? undefined : new Map(
      jobs.map(({ from, job }) => [keyOf(job), from === undefined ? "" : Transition.formatCursor(from)])
    )
  }

  /** Writes the events, up to the end. */
  send(output: Output): Effect.Effect<void> {
    for (const bytes of this.bytes) output.write(bytes)
    this.bytes = []
    return this.end ?? Effect.flatMap(
      Effect.zipRight(output.room, Effect.suspend(() => this.subscription.next)),
      (notices) => {
        this.encode(notices)
        return this.send(output)
      }
    )
  }

  encode(notices: Iterable<Notice>): void {
    for (const notice of notices) {
      if (!this.failed.includes(notice.watch)) this.encodeOne(notice)
    }
    if (this.watched > 0) return
    this.bytes.push(this.encoder.end)
    this.end = Effect.void
  }

  private encodeOne(notice: Notice): void {
    const { encoder } = this
    switch (notice._tag) {
      case "Sample": {
        const step = encoder.step(notice, this.rules)
        return Either.isLeft(step) ? this.fail(notice.watch, step.left) : this.encodeStep(notice.watch, step.right)
      }
      case "Trouble":
        return void this.bytes.push(encoder.trouble(notice))
      case "Recovered":
        return void this.bytes.push(encoder.recovered(notice))
      case "Ended": {
        if (Exit.isSuccess(notice.exit)) return void this.watched--
        const error = Cause.failureOrCause(notice.exit.cause)
        if (Either.isLeft(error)) return this.fail(notice.watch, error.left)
        this.end = Effect.failCause(error.right)
      }
    }
  }

  private encodeStep(watch: Watch, step: Step): void {
    const { cursors, encoder } = this
    watch.cursor = step.cursor
    for (const { bytes, cursor, withoutId } of step.events) {
      if (cursors === undefined) this.bytes.push(bytes)
      else {
        cursors.set(keyOf(watch.job), cursor)
        const id = encoder.format.writeId(formatCursors(cursors.values()))
        if (id !== "") this.bytes.push(encodeText(id))
        this.bytes.push(withoutId)
      }
    }
  }

  private fail(watch: Watch, error: WatchError): void {
    this.failed.push(watch)
    this.watched--
    this.bytes.push(this.encoder.failed(watch.job, error))
  }
}

/** Sends heartbeats to all connections of a gateway, by one timer, which runs only while there is one. @internal */
export class Heartbeats {
  private readonly outputs = new Map<Output, Uint8Array>()
  private timer: Fiber.Fiber | undefined

  constructor(private readonly interval: Duration.Duration) {}

  /** Sends them to an output until the scope is closed. */
  begin(output: Output, heartbeat: Uint8Array, scope: Scope.Scope): Effect.Effect<void> {
    return Effect.uninterruptible(Effect.flatMap(Fiber.runtime, (runtime) => {
      this.outputs.set(output, heartbeat)
      this.timer ??= Fiber.fork(runtime, Effect.forever(this.beat))
      return Scope.addFinalizer(scope, Effect.sync(() => this.end(output)))
    }))
  }

  private end(output: Output): void {
    this.outputs.delete(output)
    if (this.outputs.size > 0 || this.timer === undefined) return
    Fiber.interrupt(this.timer)
    this.timer = undefined
  }

  private readonly beat: Effect.Effect<void> = Effect.suspend(() =>
    Effect.map(Effect.sleep(this.interval), () => {
      for (const [output, heartbeat] of this.outputs) if (output.isIdle) output.write(heartbeat)
    })
  )
}

// no part of a stream knows the token of its request
const logged = logDefects("a stream of the gateway")

/**
 * Opens the stream of a request, and returns what writes it. If it is about one job, fails if that can't be watched, and
 * dies if its first event can't be encoded: an `EventSource` stops after an error response, but connects again after a
 * stream that ends.
 *
 * @internal
 */
export const open = (
  query: Query,
  encoder: Encoder,
  heartbeats: Heartbeats
): Effect.Effect<(output: Output) => Effect.Effect<void>, WatchError, JobWatcher | Scope.Scope> =>
  Effect.gen(function*() {
    const { format } = encoder
    const policy = yield* Default
    const subscription = yield* (yield* JobWatcher).subscribe({ policy, wants: "changes" })
    const derive = { unrecognized: policy.unrecognized, ...(yield* rules) }
    const connection = new Connection(query, subscription, encoder, derive, yield* format.begin)
    const scope = yield* Effect.scope
    const add = ({ from, job }: Known) => subscription.add(job, from)
    const [one, ...others] = query.jobs
    if (others.length === 0) {
      yield* add(one)
      connection.encode(yield* untilKnown(subscription))
    }
    return (output) => {
      const sent = Effect.flatMap(heartbeats.begin(output, format.heartbeat, scope), () => connection.send(output))
      // some may have news before the last one is added; a watcher that is closed adds none
      const added = Effect.forEach(query.jobs.filter(isOpen), add, { discard: true })
      const both = others.length === 0 ? sent : Effect.raceFirst(sent, Effect.zipRight(added, Effect.never))
      // after a defect the stream ends, without its last event: the client connects again
      return Effect.catchAllCause(both, logged)
    }
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
