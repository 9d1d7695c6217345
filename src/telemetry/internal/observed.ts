/**
 * A subscription whose jobs are observed on the way to its subscriber.
 */
import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import type * as Tracer from "effect/Tracer"
import { keyOf } from "../../model/internal/jobKey.js"
import { type Rules, rules } from "../../model/internal/rules.js"
import type { JobRef } from "../../model/Job.js"
import type { Cursor } from "../../model/Transition.js"
import { isTracerEnabled } from "../../queue/internal/fiber.js"
import type * as JobWatcher from "../../watch/JobWatcher.js"
import type { Ended } from "./history.js"
import type { Jobs, Watched } from "./jobs.js"
import * as Spans from "./spans.js"

interface Trace {
  readonly job: Ended
  readonly parent: Option.Option<Tracer.AnySpan>
}

const draw = (traces: ReadonlyArray<Trace>): Effect.Effect<void> =>
  Effect.tracerWith((tracer) =>
    Effect.forEach(
      traces,
      ({ job, parent }) =>
        Effect.catchAllDefect(
          Effect.sync(() => Spans.draw(tracer, parent, job)),
          (defect) => Effect.logWarning("The spans of a job could not be made", defect)
        ),
      { discard: true }
    )
  ).pipe(Effect.whenEffect(isTracerEnabled), Effect.uninterruptible)

class ObservedSubscription implements JobWatcher.Subscription {
  private readonly watched = new Map<string, Watched>()

  constructor(
    private readonly inner: JobWatcher.Subscription,
    private readonly jobs: Jobs,
    private readonly options: JobWatcher.SubscribeOptions,
    private readonly rules: Rules,
    private readonly parent: Option.Option<Tracer.AnySpan>
  ) {}

  add(job: JobRef, from?: Cursor): Effect.Effect<boolean> {
    return Effect.suspend(() => {
      const key = keyOf(job)
      if (!this.watched.has(key)) this.watched.set(key, this.jobs.join(key, job, from, this.parent))
      return this.inner.add(job, from)
    })
  }

  // made anew each time: most subscriptions wait most of the time, and keep no effect meanwhile
  get next(): Effect.Effect<Chunk.NonEmptyChunk<JobWatcher.Notice>> {
    return Effect.flatMap(this.inner.next, (notices) =>
      Effect.flatMap(Clock.currentTimeMillis, (now) => {
        const traces: Array<Trace> = []
        const wanted = Chunk.filter(notices, (notice) => this.read(notice, now, traces))
        const next = Chunk.isNonEmpty(wanted) ? Effect.succeed(wanted) : this.next
        return traces.length === 0 ? next : Effect.zipRight(draw(traces), next)
      }))
  }

  /** Ends the watches that remain. */
  get close(): Effect.Effect<void> {
    return Effect.flatMap(Clock.currentTimeMillis, (now) => {
      const traces: Array<Trace> = []
      for (const watched of this.watched.values()) this.leave(watched, now, traces)
      return draw(traces)
    })
  }

  private leave(watched: Watched, now: number, traces: Array<Trace>): void {
    this.watched.delete(watched.key)
    const job = this.jobs.leave(watched, now)
    if (job !== undefined) traces.push({ job, parent: watched.parent })
  }

  /** Returns whether the subscriber wants the notice. Adds the job to `traces` if it, or its last watch, has ended. */
  private read(notice: JobWatcher.Notice, now: number, traces: Array<Trace>): boolean {
    const { watch } = notice
    const watched = this.watched.get(keyOf(watch.job))
    if (watched === undefined) return true
    const wantsEnd = this.options.wants === "end"
    switch (notice._tag) {
      case "Sample": {
        const job = this.jobs.see(watched, notice, this.rules, this.options.policy)
        if (job !== undefined) traces.push({ job, parent: watched.parent })
        const { _tag } = notice.status
        if (!wantsEnd || (_tag !== "Pending" && _tag !== "Running")) return true
        // the subscriber derives the end from it
        if (watched.cursor?.phase !== "Ended") watch.cursor = watched.cursor
        return false
      }
      case "Trouble":
        this.jobs.trouble(watched, notice)
        return !wantsEnd
      case "Recovered":
        this.jobs.recover(watched)
        return !wantsEnd
      case "Ended":
        this.leave(watched, now, traces)
        return true
    }
  }
}

/** @internal */
export const observe = (
  jobs: Jobs,
  watcher: JobWatcher.Service,
  options: JobWatcher.SubscribeOptions
): Effect.Effect<JobWatcher.Subscription, never, Scope.Scope> =>
  Effect.gen(function*() {
    // the end alone does not show the times of the attempts before it
    const inner = yield* watcher.subscribe(options.wants === "end" ? { ...options, wants: "changes" } : options)
    const parent = yield* Effect.option(Effect.currentParentSpan)
    const subscription = new ObservedSubscription(inner, jobs, options, yield* rules, parent)
    // `Effect.addFinalizer` would keep the context of the fiber
    yield* Scope.addFinalizer(yield* Scope.Scope, subscription.close)
    return subscription
  })
