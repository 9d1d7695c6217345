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
import type { Notice, SubscribeOptions, Subscription } from "./notice.js"
import type { Inbox, Subscriber } from "./poller.js"
import type { Scheduler } from "./scheduler.js"

// while the news of this many jobs wait to be read, no job is added
const maxPending = 1_024

// the news of this many jobs make one chunk
const chunkSize = 256

/** Whether the outcome of a job takes a while. */
const endsLater = ({ outcome }: Subscriber): boolean => outcome !== undefined && !Exit.isExit(outcome.exit)

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
  /** What was read of them, until the reader receives it. */
  private notices: Array<Notice> | undefined = undefined
  private reader: ((next: Subscription["next"]) => void) | undefined = undefined
  /** Jobs whose outcome takes a while: they are canceled before their watches end. */
  private ending: Set<Subscriber> | undefined = undefined
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
      const subscriber = this.scheduler.subscribe(this, job, from, fiber)
      if (subscriber === undefined) return Effect.interrupt
      this.size++
      this.first ??= subscriber
      this.last = subscriber
      return Effect.succeed(true)
    })
  }

  /** Ends the watch of a job. What is read after that has no notice of it. */
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
    for (const subscriber of this.ending ?? []) if (isOf(subscriber)) return true
    return this.notices?.some(({ _tag, watch }) => _tag === "Ended" && isSameJob(watch.job, job)) ?? false
  }

  get next(): Effect.Effect<Chunk.NonEmptyChunk<Notice>> {
    return Effect.suspend(() => {
      for (let i = 0; i < chunkSize && this.pending > 0; i++) {
        if (endsLater(this.news[this.taken]!)) return Effect.zipRight(this.awaitEnd, this.next)
        this.take(this.pop())
      }
      if (this.pending < maxPending) {
        this.room?.unsafeOpen()
        this.room = undefined
      }
      const { notices } = this
      if (notices === undefined) return this.awaitNext
      // a reader that is interrupted has received all of them, or leaves them for the next one
      return Effect.sync(() => {
        this.notices = undefined
        // the chunk is not empty
        return Chunk.unsafeFromArray(notices) as Chunk.NonEmptyChunk<Notice>
      })
    })
  }

  /** Adds the news of a job. */
  private take(subscriber: Subscriber): void {
    const { outcome, poller, state, trouble } = subscriber
    const { executor, plan } = this.scheduler
    if (state === "removed") return
    subscriber.state = "idle"
    if (poller?.trouble !== undefined) {
      if (poller.trouble === trouble) return
      // the snapshot before the trouble
      if (this.options.wants !== "end") this.takeSample(subscriber)
      subscriber.trouble = poller.trouble
      const { error, since } = poller.trouble
      this.addNotice({
        _tag: "Trouble",
        watch: subscriber,
        error,
        since: executor.dateOf(since),
        nextTryAt: executor.dateOf(plan.retryAt(poller))
      })
      return
    }
    if (trouble !== undefined && (outcome === undefined || outcome.at > trouble.at)) {
      subscriber.trouble = undefined
      this.addNotice({ _tag: "Recovered", watch: subscriber, since: executor.dateOf(trouble.since) })
    }
    const isOfEnds = this.options.wants === "end"
    if (isOfEnds && outcome !== undefined) subscriber.cursor = outcome.before
    if (!isOfEnds || outcome?.exit === Exit.void) this.takeSample(subscriber)
    if (outcome === undefined || endsLater(subscriber)) return
    this.size--
    // the exit is the effect itself, so it has the same type
    this.addNotice({ _tag: "Ended", watch: subscriber, exit: outcome.exit as Exit.Exit<void, WatchError> })
  }

  private addNotice(notice: Notice): void {
    this.notices ??= []
    this.notices.push(notice)
  }

  /** Adds the latest snapshot, unless it was taken before, or may be older than what the subscriber knows. */
  private takeSample(subscriber: Subscriber): void {
    const { seenAt, source } = subscriber
    if (source.status === undefined || source.at === seenAt || !subscriber.catchUp()) return
    subscriber.seenAt = source.at
    const at = this.scheduler.executor.dateOf(source.at)
    this.addNotice({ _tag: "Sample", watch: subscriber, status: source.status, at })
  }

  // on a fiber of its own: to cancel the job may take a while, and must not delay the other jobs
  private get awaitEnd(): Effect.Effect<unknown> {
    return Effect.uninterruptible(Effect.suspend(() => {
      const subscriber = this.pop()
      const outcome = subscriber.outcome!
      this.take(subscriber)
      const ending = this.ending ??= new Set()
      ending.add(subscriber)
      const ended = Effect.map(Effect.exit(outcome.exit), (exit) => {
        ending.delete(subscriber)
        subscriber.source = { ...outcome, exit }
        subscriber.notify()
      })
      return Fiber.forkIn(this.scope)(ended)
    }))
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

  /** There is one. */
  private pop(): Subscriber {
    const subscriber = this.news[this.taken++]!
    // also if there is always more to read: what has been read must be collected
    if (this.pending === 0 || this.taken >= maxPending) {
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
