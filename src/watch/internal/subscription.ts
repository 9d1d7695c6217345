/**
 * The subscriptions of the watcher that polls: a record for each job, and no fiber.
 *
 * @internal
 */
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import type { JobRef } from "../../model/Job.js"
import * as Transition from "../../model/Transition.js"
import type { Cursor } from "../../model/Transition.js"
import type { WatchPolicy } from "../../policy/WatchPolicy.js"
import type { Service as JobQueueService } from "../../queue/JobQueue.js"
import { expire, makeWithin, type Trouble } from "./expiryErrors.js"
import type { Notice, SubscribeOptions, Subscription, Watch } from "./notice.js"
import { type End, type Expired, Subscriber } from "./poller.js"
import type { Scheduler } from "./scheduler.js"

// No more jobs are added while so many have news that nobody has taken yet.
const mostNews = 1_024

// The news of so many jobs are in one chunk.
const chunkSize = 256

/** One job of a subscription. */
class Member extends Subscriber implements Watch {
  private known: Cursor | undefined = undefined
  /** The last trouble that was reported, if nothing was since. */
  trouble: Trouble | undefined = undefined
  isNews = false

  constructor(readonly subscription: Members) {
    super()
  }

  get cursor(): Cursor | undefined {
    return this.known
  }

  // Most often it is the cursor that the poller has, in another object. One is enough.
  set cursor(cursor: Cursor | undefined) {
    const known = this.poller?.cursor
    this.known = known !== undefined && cursor !== undefined && Transition.Cursor.isSame(known, cursor) ? known : cursor
  }

  get job(): JobRef {
    // it has one from the moment that it subscribes
    return this.source!.job
  }

  get policy(): WatchPolicy {
    return this.subscription.options.policy
  }

  get wants(): SubscribeOptions["wants"] {
    return this.subscription.options.wants
  }

  notify(): void {
    if (this.isNews) return
    this.isNews = true
    this.subscription.push(this)
  }
}

class Members implements Subscription {
  /** How many are watched. */
  private size = 0
  /** The first of all that were added, and the last: most often it is the only one. */
  private first: Member | undefined = undefined
  private last: Member | undefined = undefined
  /** Those that have something new, oldest first; the ones before `taken` have been seen to. */
  private news: Array<Member> = []
  private taken = 0
  /** What took its time to find out. */
  private late: Array<Notice> | undefined = undefined
  private reader: (() => void) | undefined = undefined
  private adders: Array<() => void> | undefined = undefined

  constructor(
    private readonly scheduler: Scheduler,
    private readonly queue: JobQueueService,
    readonly options: SubscribeOptions,
    private readonly scope: Scope.Scope
  ) {}

  add(job: JobRef, from?: Cursor): Effect.Effect<boolean> {
    return Effect.suspend(() => {
      if (this.pending >= mostNews) return Effect.zipRight(this.awaitRoom, this.add(job, from))
      if (this.isWatched(job)) return Effect.succeed(false)
      const member = new Member(this)
      member.from = from
      member.cursor = from
      this.size++
      this.first ??= member
      this.last = member
      return Effect.map(this.scheduler.subscribe(member, job), () => {
        // known already, from others who watch it or did
        if (member.hasNews) member.notify()
        return true
      })
    })
  }

  private isWatched(job: JobRef): boolean {
    if (this.size === 0) return false
    let found = false
    this.scheduler.find(job)?.each((subscriber) => {
      if (subscriber instanceof Member && subscriber.subscription === this) found = true
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
      // there is at least one
      const reported = Chunk.unsafeFromArray(notices) as Chunk.NonEmptyChunk<Notice>
      return Effect.zipRight(
        expiries,
        notices.length > 0 ? Effect.succeed(reported) : Effect.zipRight(this.awaitNews, this.next)
      )
    })
  }

  /** Adds what is new of a job; what it returns is a deadline that has passed, whose error takes its time. */
  private take(member: Member, notices: Array<Notice>): Expired | undefined {
    const { end, poller, trouble } = member
    member.isNews = false
    if (poller?.trouble !== undefined) {
      if (poller.trouble === trouble) return undefined
      member.trouble = poller.trouble
      const { error, since } = poller.trouble
      notices.push({
        _tag: "Trouble",
        watch: member,
        error,
        since: this.scheduler.dateOf(since),
        nextTryAt: this.scheduler.dateOf(this.scheduler.dueOf(poller))
      })
      return undefined
    }
    if (trouble !== undefined && (end === undefined || end.at > trouble.at)) {
      member.trouble = undefined
      notices.push({ _tag: "Recovered", watch: member, since: this.scheduler.dateOf(trouble.since) })
    }
    const isOfEnds = this.options.wants === "end"
    if (isOfEnds && end !== undefined) member.cursor = end.before
    if (!isOfEnds || (end !== undefined && end.error === undefined)) {
      const looked = member.look()
      if (looked !== undefined) {
        const at = this.scheduler.dateOf(looked.at)
        notices.push({ _tag: "Sample", watch: member, status: looked.status, at })
      }
    }
    if (end === undefined) return undefined
    this.size--
    return this.ended(member, end, notices)
  }

  private ended(member: Member, { error }: End, notices: Array<Notice>): Expired | undefined {
    if (error !== undefined && error._tag === "Expired") return error
    notices.push({
      _tag: "Ended",
      watch: member,
      exit: error === undefined ? Exit.void : Exit.failCause(error)
    })
    return undefined
  }

  // To cancel the job may take a while, and the others are not to wait for it.
  private expire(member: Member, { expiry, known }: Expired): Effect.Effect<void> {
    return Effect.asVoid(Effect.forkIn(
      Effect.map(
        Effect.exit(
          Effect.flatMap(
            makeWithin,
            (within) => expire(within, this.queue, member.job, this.options.policy, known, expiry)
          )
        ),
        (exit) => {
          this.late ??= []
          this.late.push({ _tag: "Ended", watch: member, exit })
          this.wake()
        }
      ),
      this.scope
    ))
  }

  readonly close: Effect.Effect<void> = Effect.suspend(() =>
    this.last === undefined
      ? Effect.void
      : this.size === 0 || this.first === this.last
      ? this.scheduler.unsubscribe(this.last)
      : this.scheduler.unsubscribeWhere((subscriber) =>
        subscriber instanceof Member && subscriber.subscription === this
      )
  )

  // ---------------------------------------------------------------------------
  // news
  // ---------------------------------------------------------------------------

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
    reader?.()
  }

  private makeRoom(): void {
    const { adders } = this
    if (adders === undefined || this.pending >= mostNews) return
    this.adders = undefined
    // they look again
    for (const adder of adders) adder()
  }

  // made for each time: most of its time a subscription waits, and then nothing more needs to be kept
  private get awaitNews(): Effect.Effect<void> {
    return Effect.async((resume) => {
      if (this.pending > 0 || this.late !== undefined) return resume(Effect.void)
      this.reader = () => resume(Effect.void)
      return Effect.sync(() => {
        this.reader = undefined
      })
    })
  }

  private get awaitRoom(): Effect.Effect<void> {
    return Effect.async((resume) => {
      if (this.pending < mostNews) return resume(Effect.void)
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
): Effect.Effect<Subscription, never, Scope.Scope> =>
  Effect.flatMap(Scope.Scope, (scope) => {
    const members = new Members(scheduler, queue, options, scope)
    return Effect.as(Scope.addFinalizer(scope, members.close), members)
  })
