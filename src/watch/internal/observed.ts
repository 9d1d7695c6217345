/**
 * A watcher whose jobs are observed on the way to their subscribers: each job once, however many watch it.
 */
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import { rules } from "../../model/internal/rules.js"
import type { JobRef } from "../../model/Job.js"
import type { Cursor } from "../../model/Transition.js"
import * as Fiber from "../../queue/internal/fiber.js"
import { clockAheadOf, hidden } from "../../queue/internal/hidden.js"
import type { Service } from "../JobWatcher.js"
import type { DeriveRules, Notice, SubscribeOptions, Subscription } from "./notice.js"
import { derive } from "./reader.js"

/** What observes the jobs of a watcher. `A` is its record of a job that is watched. @internal */
export interface Observer<A> {
  /** The first watch of a job begins, in some fiber, and from a cursor if there is one. */
  readonly begin: (job: JobRef, from: Cursor | undefined, fiber: Fiber.Fiber<unknown, unknown>) => A
  /** A subscription is about to receive a notice. Returns what is to run before, if anything. */
  readonly onNotice: (record: A, notice: Notice, rules: DeriveRules) => Effect.Effect<void> | undefined
  /** The last watch of a job has ended. Returns what is to run then, if anything. */
  readonly end: (record: A) => Effect.Effect<void> | undefined
}

interface Watched<A> {
  readonly job: JobRef
  readonly record: A
  watches: number
}

/** The jobs that are watched, each of them once, by model and request id: a key for each notice would cost more. */
class Jobs<A> {
  private readonly models = new Map<string, Map<string, Watched<A>>>()

  get({ model, requestId }: JobRef): Watched<A> | undefined {
    return this.models.get(model)?.get(requestId)
  }

  add(job: JobRef, record: A): Watched<A> {
    const watched = { job, record, watches: 0 }
    const ofModel = this.models.get(job.model) ?? new Map<string, Watched<A>>()
    this.models.set(job.model, ofModel.set(job.requestId, watched))
    return watched
  }

  remove({ job: { model, requestId } }: Watched<A>): void {
    const ofModel = this.models.get(model)
    ofModel?.delete(requestId)
    if (ofModel?.size === 0) this.models.delete(model)
  }
}

class ObservedSubscription<A> implements Subscription {
  private readonly watched = new Set<Watched<A>>()
  /** What was observed, until the reader receives it. */
  private notices: Chunk.NonEmptyChunk<Notice> | undefined = undefined
  /** What is to run before. */
  private before: Effect.Effect<void> | undefined = undefined

  constructor(
    private readonly inner: Subscription,
    private readonly jobs: Jobs<A>,
    private readonly observer: Observer<A>,
    private readonly wants: SubscribeOptions["wants"],
    private readonly rules: DeriveRules
  ) {}

  add(job: JobRef, from?: Cursor): Effect.Effect<boolean> {
    return Fiber.withSelf<boolean>((fiber) => {
      const watched = this.jobs.get(job) ?? this.jobs.add(job, this.observer.begin(job, from, fiber))
      if (!this.watched.has(watched)) {
        this.watched.add(watched)
        watched.watches++
      }
      return this.inner.add(job, from)
    })
  }

  // made anew each time: most subscriptions wait most of the time, and keep no effect meanwhile
  get next(): Effect.Effect<Chunk.NonEmptyChunk<Notice>> {
    return Effect.suspend(() => {
      if (this.before !== undefined) return Effect.zipRight(this.runBefore, this.next)
      const { notices } = this
      return notices === undefined
        ? Effect.flatMap(this.inner.next, (notices) => this.observe(notices))
        // a reader that is interrupted has received all of them, or leaves them for the next one
        : Effect.sync(() => {
          this.notices = undefined
          return notices
        })
    })
  }

  private observe(notices: Chunk.Chunk<Notice>): Subscription["next"] {
    for (const notice of notices) this.read(notice)
    const wanted = this.wants === "end" ? Chunk.filter(notices, (notice) => this.isEnd(notice)) : notices
    if (Chunk.isNonEmpty(wanted)) this.notices = wanted
    return this.next
  }

  private get runBefore(): Effect.Effect<void> {
    return Effect.uninterruptible(Effect.suspend(() => {
      const { before = Effect.void } = this
      this.before = undefined
      return before
    }))
  }

  /** Ends the watches that remain. */
  get close(): Effect.Effect<void> {
    return Effect.suspend(() => {
      for (const watched of this.watched) this.leave(watched)
      return this.runBefore
    })
  }

  private leave(watched: Watched<A>): void {
    this.watched.delete(watched)
    if (--watched.watches > 0) return
    this.jobs.remove(watched)
    this.run(this.observer.end(watched.record))
  }

  private read(notice: Notice): void {
    const watched = this.jobs.get(notice.watch.job)
    if (watched === undefined || !this.watched.has(watched)) return
    this.run(this.observer.onNotice(watched.record, notice, this.rules))
    if (notice._tag === "Ended") this.leave(watched)
  }

  private run(effect: Effect.Effect<void> | undefined): void {
    if (effect !== undefined) this.before = this.before === undefined ? effect : Effect.zipRight(this.before, effect)
  }

  /** Whether a subscriber that wants the end alone receives the notice. If not, its cursor moves here. */
  private isEnd(notice: Notice): boolean {
    if (notice._tag !== "Sample") return notice._tag === "Ended"
    if (notice.status._tag !== "Pending" && notice.status._tag !== "Running") return true
    derive(notice, this.rules)
    return false
  }
}

/** The watcher, with an observer of all its jobs. It costs no request. @internal */
export const observed = <A>(watcher: Service, observer: Observer<A>): Service => {
  const jobs = new Jobs<A>()
  return {
    pollingEvents: watcher.pollingEvents,
    inspect: hidden(watcher, "inspect"),
    clockAhead: clockAheadOf(watcher),
    subscribe: (options) =>
      Effect.gen(function*() {
        const { policy: { unrecognized }, wants } = options
        // the end alone does not show the steps before it
        const inner = yield* watcher.subscribe(wants === "end" ? { ...options, wants: "changes" } : options)
        const subscription = new ObservedSubscription(inner, jobs, observer, wants, { unrecognized, ...(yield* rules) })
        // `Effect.addFinalizer` would keep the context of the fiber
        yield* Scope.addFinalizer(yield* Scope.Scope, subscription.close)
        return subscription
      })
  }
}
