/**
 * The subscriptions of the watcher that polls: a record for each job, no fiber.
 */
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { isSameJob } from "../../model/internal/jobKey.js"
import type { JobRef } from "../../model/Job.js"
import type { WatchError } from "../../model/QueueError.js"
import type { Cursor } from "../../model/Transition.js"
import * as Fiber from "../../queue/internal/fiber.js"
import { isOlder } from "./jobState.js"
import type { Notice, SubscribeOptions, Subscription } from "./notice.js"
import { type Inbox, type Outcome, Subscriber } from "./poller.js"
import type { Scheduler } from "./scheduler.js"

// while the news of this many jobs wait to be read, no job is added
const maxPending = 1_024

// the news of this many jobs make one chunk
const chunkSize = 256

/** @internal */
export class JobSubscription implements Subscription, Inbox {
  /** The number of watched jobs. */
  private size = 0
  /** The jobs that were added first and last: mostly the same one. */
  private first: Subscriber | undefined = undefined
  private last: Subscriber | undefined = undefined
  /** Jobs with news, oldest first; those before `taken` have been read. */
  private news: Array<Subscriber> = []
  private taken = 0
  private reader: ((next: Subscription["next"]) => void) | undefined = undefined
  /** Jobs whose outcome takes a while: they are canceled before their watches end. */
  private readonly ending = new Set<Subscriber>()
  /** What `add` waits for while too many news are pending. */
  private room: Effect.Latch | undefined = undefined

  constructor(
    private readonly scheduler: Scheduler,
    readonly options: SubscribeOptions,
    private readonly scope: Scope.Scope
  ) {}

  add(job: JobRef, from?: Cursor): Effect.Effect<boolean> {
    return Fiber.withSelf<boolean>((fiber) => {
      if (this.pending >= maxPending) {
        this.room ??= Effect.unsafeMakeLatch()
        return Effect.zipRight(this.room.await, this.add(job, from))
      }
      if (this.find(job) !== undefined || this.hasUnreadEnd(job)) return Effect.succeed(false)
      const subscriber = new Subscriber(this, job)
      subscriber.from = from
      subscriber.cursor = from
      this.size++
      this.first ??= subscriber
      this.last = subscriber
      return this.scheduler.subscribe(subscriber, job, fiber) ? Effect.succeed(true) : Effect.interrupt
    })
  }

  /** Ends the watch of a job. No notice of it follows. */
  remove(job: JobRef): Effect.Effect<void> {
    return Effect.suspend(() => {
      const subscriber = this.find(job)
      if (subscriber === undefined) return Effect.void
      this.size--
      return this.scheduler.unsubscribe([subscriber])
    })
  }

  private find(job: JobRef): Subscriber | undefined {
    if (this.size === 0) return undefined
    let found: Subscriber | undefined
    this.scheduler.plan.find(job)?.each((subscriber) => {
      if (subscriber.inbox === this) found = subscriber
    })
    return found
  }

  private hasUnreadEnd(job: JobRef): boolean {
    const isOf = ({ outcome }: Subscriber) => outcome !== undefined && isSameJob(outcome.job, job)
    for (let i = this.taken; i < this.news.length; i++) if (isOf(this.news[i]!)) return true
    for (const subscriber of this.ending) if (isOf(subscriber)) return true
    return false
  }

  get next(): Effect.Effect<Chunk.NonEmptyChunk<Notice>> {
    return Effect.suspend(() => {
      const notices: Array<Notice> = []
      let ends: Effect.Effect<void> = Effect.void
      for (let i = 0; i < chunkSize; i++) {
        const subscriber = this.pop()
        if (subscriber === undefined) break
        const outcome = this.take(subscriber, notices)
        if (outcome !== undefined) ends = Effect.zipRight(ends, this.awaitEnd(subscriber, outcome))
      }
      if (this.pending < maxPending) {
        this.room?.unsafeOpen()
        this.room = undefined
      }
      return Effect.zipRight(
        ends,
        notices.length > 0
          // the chunk is not empty
          ? Effect.succeed(Chunk.unsafeFromArray(notices) as Chunk.NonEmptyChunk<Notice>)
          : this.awaitNext
      )
    })
  }

  /** Adds the news of a job. Returns its outcome if that takes a while. */
  private take(subscriber: Subscriber, notices: Array<Notice>): Outcome | undefined {
    const { outcome, poller, trouble } = subscriber
    const { executor, plan } = this.scheduler
    subscriber.isPending = false
    // it was removed
    if (subscriber.source === undefined) return undefined
    if (poller?.trouble !== undefined) {
      if (poller.trouble === trouble) return undefined
      // the snapshot before the trouble
      if (this.options.wants !== "end") this.takeSample(subscriber, notices)
      subscriber.trouble = poller.trouble
      const { error, since } = poller.trouble
      notices.push({
        _tag: "Trouble",
        watch: subscriber,
        error,
        since: executor.dateOf(since),
        nextTryAt: executor.dateOf(plan.retryAt(poller))
      })
      return undefined
    }
    if (trouble !== undefined && (outcome === undefined || outcome.at > trouble.at)) {
      subscriber.trouble = undefined
      notices.push({ _tag: "Recovered", watch: subscriber, since: executor.dateOf(trouble.since) })
    }
    const isOfEnds = this.options.wants === "end"
    if (isOfEnds && outcome !== undefined) subscriber.cursor = outcome.before
    if (!isOfEnds || outcome?.exit === Exit.void) this.takeSample(subscriber, notices)
    if (outcome === undefined) return undefined
    const { exit } = outcome
    if (!Exit.isExit(exit)) return outcome
    this.size--
    // the exit is the effect itself, so it has the same type
    notices.push({ _tag: "Ended", watch: subscriber, exit: exit as Exit.Exit<void, WatchError> })
    return undefined
  }

  /** Adds the latest snapshot, unless it was taken before, or may be older than what the subscriber knows. */
  private takeSample(subscriber: Subscriber, notices: Array<Notice>): void {
    const { from, seenAt, source } = subscriber
    if (source?.status === undefined || source.at === seenAt) return
    if (from !== undefined && isOlder(from, source.status) !== false) return
    subscriber.seenAt = source.at
    const at = this.scheduler.executor.dateOf(source.at)
    notices.push({ _tag: "Sample", watch: subscriber, status: source.status, at })
  }

  // on a fiber of its own: to cancel the job may take a while, and must not delay the other jobs
  private awaitEnd(subscriber: Subscriber, outcome: Outcome): Effect.Effect<void> {
    this.ending.add(subscriber)
    return Effect.asVoid(Effect.forkIn(
      Effect.map(Effect.exit(outcome.exit), (exit) => {
        this.ending.delete(subscriber)
        subscriber.source = { ...outcome, exit }
        subscriber.notify()
      }),
      this.scope
    ))
  }

  close(): Effect.Effect<void> {
    if (this.last === undefined) return Effect.void
    const isOne = this.size === 0 || this.first === this.last
    return this.scheduler.unsubscribe(isOne ? [this.last] : this.scheduler.plan.subscribersOf(this))
  }

  private get pending(): number {
    return this.news.length - this.taken
  }

  push(subscriber: Subscriber): void {
    const { reader } = this
    this.news.push(subscriber)
    this.reader = undefined
    reader?.(this.next)
  }

  private pop(): Subscriber | undefined {
    const subscriber = this.news[this.taken]
    if (subscriber === undefined) return undefined
    this.taken++
    // also if there is always more to read: what has been read must be collected
    if (this.taken === this.news.length || this.taken >= maxPending) {
      this.news = this.news.slice(this.taken)
      this.taken = 0
    }
    return subscriber
  }

  // without a finalizer, which would take 1.6 KiB: waking a reader that was interrupted has no effect
  private get awaitNext(): Effect.Effect<Chunk.NonEmptyChunk<Notice>> {
    return Effect.async((resume) => {
      if (this.pending > 0) return resume(this.next)
      this.reader = resume
    })
  }
}

/** @internal */
export const subscribe = (
  scheduler: Scheduler,
  options: SubscribeOptions
): Effect.Effect<JobSubscription, never, Scope.Scope> =>
  Effect.flatMap(Scope.Scope, (scope) => {
    const subscription = new JobSubscription(scheduler, options, scope)
    return Effect.as(Scope.addFinalizerExit(scope, () => subscription.close()), subscription)
  })
