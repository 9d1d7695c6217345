/**
 * The subscriptions of the watcher that polls: a record for each job, no fiber.
 */
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import type { JobRef } from "../../model/Job.js"
import { Cursor } from "../../model/Transition.js"
import type { WatchPolicy } from "../../policy/WatchPolicy.js"
import { makeWithin } from "../../queue/internal/fiber.js"
import type { Service as JobQueueService } from "../../queue/JobQueue.js"
import { expire, type Trouble } from "./expiryErrors.js"
import type { Notice, SubscribeOptions, Subscription, Watch } from "./notice.js"
import { type Expired, Subscriber } from "./poller.js"
import type { Scheduler } from "./scheduler.js"

// while the news of this many jobs wait to be read, no job is added
const maxPending = 1_024

// the news of this many jobs make one chunk
const chunkSize = 256

class Member extends Subscriber implements Watch {
  private known: Cursor | undefined = undefined
  /** The trouble that was reported last, until it passes. */
  trouble: Trouble | undefined = undefined
  isPending = false

  constructor(readonly subscription: JobSubscription) {
    super()
  }

  get cursor(): Cursor | undefined {
    return this.known
  }

  // mostly an equal cursor of the poller exists: one object is enough
  set cursor(cursor: Cursor | undefined) {
    const known = this.poller?.cursor
    this.known = known !== undefined && cursor !== undefined && Cursor.isSame(known, cursor) ? known : cursor
  }

  get job(): JobRef {
    // `subscribe` has set it
    return this.source!.job
  }

  get policy(): WatchPolicy {
    return this.subscription.options.policy
  }

  get wants(): SubscribeOptions["wants"] {
    return this.subscription.options.wants
  }

  notify(): void {
    if (this.isPending) return
    this.isPending = true
    this.subscription.push(this)
  }
}

/** @internal */
export class JobSubscription implements Subscription {
  /** The number of watched jobs. */
  private size = 0
  /** The jobs that were added first and last: mostly the same one. */
  private first: Member | undefined = undefined
  private last: Member | undefined = undefined
  /** Jobs with news, oldest first; those before `taken` have been read. */
  private news: Array<Member> = []
  private taken = 0
  /** Notices that took a while to compute. */
  private late: Array<Notice> | undefined = undefined
  private reader: ((next: Subscription["next"]) => void) | undefined = undefined
  private adders: Array<() => void> | undefined = undefined

  constructor(
    private readonly scheduler: Scheduler,
    private readonly queue: JobQueueService,
    readonly options: SubscribeOptions,
    private readonly scope: Scope.Scope
  ) {}

  add(job: JobRef, from?: Cursor): Effect.Effect<boolean> {
    return Effect.suspend(() => {
      if (this.pending >= maxPending) return Effect.zipRight(this.awaitRoom, this.add(job, from))
      if (this.find(job) !== undefined) return Effect.succeed(false)
      const member = new Member(this)
      member.from = from
      member.cursor = from
      this.size++
      this.first ??= member
      this.last = member
      return Effect.map(this.scheduler.subscribe(member, job), () => {
        if (member.hasNews) member.notify()
        return true
      })
    })
  }

  /** Ends the watch of a job. No notice of it follows. */
  remove(job: JobRef): Effect.Effect<void> {
    return Effect.suspend(() => {
      const member = this.find(job)
      if (member === undefined) return Effect.void
      this.size--
      return this.scheduler.unsubscribe([member])
    })
  }

  private find(job: JobRef): Member | undefined {
    if (this.size === 0) return undefined
    let found: Member | undefined
    this.scheduler.plan.find(job)?.each((subscriber) => {
      if (subscriber instanceof Member && subscriber.subscription === this) found = subscriber
    })
    return found
  }

  get next(): Effect.Effect<Chunk.NonEmptyChunk<Notice>> {
    return Effect.suspend(() => {
      const notices = this.late ?? []
      this.late = undefined
      let expiries: Effect.Effect<void> = Effect.void
      for (let i = 0; i < chunkSize; i++) {
        const member = this.pop()
        if (member === undefined) break
        const end = this.take(member, notices)
        if (end !== undefined) expiries = Effect.zipRight(expiries, this.expire(member, end))
      }
      this.makeRoom()
      return Effect.zipRight(
        expiries,
        notices.length > 0
          // the chunk is not empty
          ? Effect.succeed(Chunk.unsafeFromArray(notices) as Chunk.NonEmptyChunk<Notice>)
          : this.awaitNext
      )
    })
  }

  /** Adds the news of a job. Returns a deadline that has passed, whose error takes a while. */
  private take(member: Member, notices: Array<Notice>): Expired | undefined {
    const { outcome, poller, trouble } = member
    const { executor, plan } = this.scheduler
    member.isPending = false
    if (poller?.trouble !== undefined) {
      if (poller.trouble === trouble) return undefined
      member.trouble = poller.trouble
      const { error, since } = poller.trouble
      notices.push({
        _tag: "Trouble",
        watch: member,
        error,
        since: executor.dateOf(since),
        nextTryAt: executor.dateOf(plan.retryAt(poller))
      })
      return undefined
    }
    if (trouble !== undefined && (outcome === undefined || outcome.at > trouble.at)) {
      member.trouble = undefined
      notices.push({ _tag: "Recovered", watch: member, since: executor.dateOf(trouble.since) })
    }
    const isOfEnds = this.options.wants === "end"
    if (isOfEnds && outcome !== undefined) member.cursor = outcome.before
    if (!isOfEnds || (outcome !== undefined && outcome.error === undefined)) {
      const latest = member.takeLatest()
      if (latest !== undefined) {
        notices.push({ _tag: "Sample", watch: member, status: latest.status, at: executor.dateOf(latest.at) })
      }
    }
    if (outcome === undefined) return undefined
    this.size--
    const { error } = outcome
    if (error?._tag === "Expired") return error
    notices.push({ _tag: "Ended", watch: member, exit: error === undefined ? Exit.void : Exit.failCause(error) })
    return undefined
  }

  // on a fiber of its own: to cancel the job may take a while, and must not delay the other jobs
  private expire(member: Member, { expiry, known }: Expired): Effect.Effect<void> {
    const error = Effect.flatMap(
      makeWithin,
      (within) => expire(within, this.queue, member.job, this.options.policy, known, expiry)
    )
    return Effect.asVoid(Effect.forkIn(
      Effect.map(Effect.exit(error), (exit) => {
        this.late ??= []
        this.late.push({ _tag: "Ended", watch: member, exit })
        this.wake()
      }),
      this.scope
    ))
  }

  close(): Effect.Effect<void> {
    return this.last === undefined
      ? Effect.void
      : this.size === 0 || this.first === this.last
      ? this.scheduler.unsubscribe([this.last])
      : this.scheduler.unsubscribeWhere((subscriber) =>
        subscriber instanceof Member && subscriber.subscription === this
      )
  }

  private get pending(): number {
    return this.news.length - this.taken
  }

  push(member: Member): void {
    this.news.push(member)
    this.wake()
  }

  private pop(): Member | undefined {
    const member = this.news[this.taken]
    if (member === undefined) return undefined
    this.taken++
    if (this.taken === this.news.length) {
      this.news = []
      this.taken = 0
    }
    return member
  }

  private wake(): void {
    const { reader } = this
    this.reader = undefined
    reader?.(this.next)
  }

  private makeRoom(): void {
    const { adders } = this
    if (adders === undefined || this.pending >= maxPending) return
    this.adders = undefined
    for (const adder of adders) adder()
  }

  // without a finalizer, which would take 1.6 KiB: waking a reader that was interrupted has no effect
  private get awaitNext(): Effect.Effect<Chunk.NonEmptyChunk<Notice>> {
    return Effect.async((resume) => {
      if (this.pending > 0 || this.late !== undefined) return resume(this.next)
      this.reader = resume
    })
  }

  private get awaitRoom(): Effect.Effect<void> {
    return Effect.async((resume) => {
      if (this.pending < maxPending) return resume(Effect.void)
      const adder = () => resume(Effect.void)
      this.adders ??= []
      this.adders.push(adder)
      return Effect.sync(() => {
        this.adders = this.adders?.filter((other) => other !== adder)
      })
    })
  }
}

/** @internal */
export const subscribe = (
  scheduler: Scheduler,
  queue: JobQueueService,
  options: SubscribeOptions
): Effect.Effect<JobSubscription, never, Scope.Scope> =>
  Effect.flatMap(Scope.Scope, (scope) => {
    const subscription = new JobSubscription(scheduler, queue, options, scope)
    return Effect.as(Scope.addFinalizerExit(scope, () => subscription.close()), subscription)
  })
