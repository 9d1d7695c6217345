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
import type { Output } from "./output.js"
import { formatCursors, isOpen, type Known, type Query } from "./request.js"

/** Turns the notices of a subscription into bytes. */
class Writer {
  /** The cursors of all jobs, if there are several: the id of an event. */
  private readonly cursors: Map<string, string> | undefined
  private readonly failed = new Set<Watch>()
  private watched: number

  constructor(
    private readonly output: Output,
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

  get isEnded(): boolean {
    return this.watched === 0
  }

  /** Throws the defect of a watch that dies. */
  write(notices: Iterable<Notice>): void {
    for (const notice of notices) {
      if (!this.failed.has(notice.watch)) this.writeOne(notice)
    }
    if (this.isEnded) this.output.write(this.encoder.end)
  }

  private writeOne(notice: Notice): void {
    const { encoder, output } = this
    switch (notice._tag) {
      case "Sample": {
        const step = encoder.step(notice, this.policy, this.rules)
        return Either.isLeft(step) ? this.fail(notice.watch, step.left) : this.writeStep(notice.watch, step.right)
      }
      case "Trouble":
        return output.write(encoder.trouble(notice))
      case "Recovered":
        return output.write(encoder.recovered(notice))
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

  private writeStep(watch: Watch, step: Step): void {
    const { cursors, encoder, output } = this
    watch.cursor = step.cursor
    for (const { bytes, cursor, withoutId } of step.events) {
      if (cursors === undefined) output.write(bytes)
      else {
        cursors.set(keyOf(watch.job), cursor)
        const id = encoder.format.writeId(formatCursors(cursors.values()))
        if (id !== "") output.write(encodeText(id))
        output.write(withoutId)
      }
    }
  }

  private fail(watch: Watch, error: WatchError): void {
    this.failed.add(watch)
    this.watched--
    this.output.write(this.encoder.failed(watch.job, error))
  }
}

/** Sends heartbeats to all connections of a gateway, by one timer, which runs only while there is one. @internal */
export class Heartbeats {
  private readonly outputs = new Map<Output, Uint8Array>()
  private timer: Fiber.Fiber | undefined

  constructor(private readonly interval: Duration.Duration) {}

  /** Sends them to an output until the scope is closed. */
  begin(output: Output, heartbeat: Uint8Array, scope: Scope.Scope): Effect.Effect<void> {
    return Effect.flatMap(Fiber.runtime, (runtime) => {
      this.outputs.set(output, heartbeat)
      this.timer ??= Fiber.fork(runtime, Effect.forever(this.beat))
      return Scope.addFinalizer(scope, Effect.sync(() => this.end(output)))
    })
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

/**
 * Opens the stream of a request, and returns what writes it. If it is about one job, fails if that can't be watched: an
 * `EventSource` stops after an error response, but connects again after a stream that reports an error.
 *
 * @internal
 */
export const open = (
  query: Query,
  encoder: Encoder,
  heartbeats: Heartbeats
): Effect.Effect<(output: Output) => Effect.Effect<void>, WatchError, JobWatcher | Scope.Scope> =>
  Effect.gen(function*() {
    const policy = yield* Default
    const rulesOfJobs = yield* rules
    const begin = yield* encoder.format.begin
    const subscription = yield* (yield* JobWatcher).subscribe({ policy, wants: "changes" })
    const scope = yield* Effect.scope
    const add = ({ from, job }: Known) => subscription.add(job, from)
    const [one, ...others] = query.jobs
    const isOne = others.length === 0
    let first: Iterable<Notice> = isOne ? yield* Effect.zipRight(add(one), untilKnown(subscription)) : []
    return (output) => {
      const writer = new Writer(output, query, encoder, policy, rulesOfJobs)
      const write = (notices: Iterable<Notice>): Effect.Effect<void> => {
        writer.write(notices)
        return writer.isEnded ? Effect.void : Effect.zipRight(output.room, next)
      }
      const next = Effect.flatMap(Effect.suspend(() => subscription.next), write)
      const written = Effect.flatMap(heartbeats.begin(output, encoder.format.heartbeat, scope), () => {
        output.write(begin)
        const notices = first
        first = []
        return write(notices)
      })
      if (isOne) return written
      // some may have news before the last one is added; a watcher that is closed adds none
      const added = Effect.forEach(query.jobs.filter(isOpen), add, { discard: true })
      return Effect.raceFirst(written, Effect.zipRight(added, Effect.never))
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
