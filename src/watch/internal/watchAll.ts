/**
 * The watch of many jobs as one stream: a record a job, and no fiber.
 *
 * @internal
 */
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { type Rules, rules } from "../../model/internal/rules.js"
import type * as Job from "../../model/Job.js"
import type { WatchError } from "../../model/QueueError.js"
import type * as Transition from "../../model/Transition.js"
import type { WatchPolicy } from "../../policy/WatchPolicy.js"
import type { Service as JobQueueService } from "../../queue/JobQueue.js"
import type { Options } from "../JobStream.js"
import { policyOf } from "./outcome.js"
import { Subscriber } from "./poller.js"
import type { Scheduler } from "./scheduler.js"
import { derived, failed } from "./subscription.js"

// No more references are taken while so many jobs have news that nobody has taken yet.
const mostNews = 1_024

// How many jobs' news are told in one chunk.
const chunkSize = 256

// Public types refer to it, so it is not marked as internal: the build would leave it out.
export interface Failed {
  readonly _tag: "WatchFailed"
  readonly job: Job.JobRef
  readonly error: WatchError
}

type Told = Transition.Transition | Failed

/** What each of the watches shares with the others. */
class Merge {
  /** How many are watched. */
  size = 0
  /** Those that have something new, oldest first; the ones before `taken` have been seen to. */
  private news: Array<Member> = []
  private taken = 0
  failures: Array<Failed> = []
  /** How many have ended with an error that is still being made out. */
  unsettled = 0
  /** How the references have ended, when they have. */
  exit: Exit.Exit<void, unknown> | undefined = undefined
  private reader: (() => void) | undefined = undefined
  private adder: (() => void) | undefined = undefined

  constructor(readonly policy: WatchPolicy, readonly rules: Rules) {}

  get pending(): number {
    return this.news.length - this.taken
  }

  push(member: Member): void {
    this.news.push(member)
    this.wake()
  }

  pop(): Member | undefined {
    const member = this.news[this.taken]
    if (member === undefined) return undefined
    this.taken++
    if (this.taken === this.news.length) {
      this.news = []
      this.taken = 0
    }
    return member
  }

  wake(): void {
    const { reader } = this
    this.reader = undefined
    reader?.()
  }

  /** The reader has caught up. */
  taking(): void {
    const { adder } = this
    if (adder === undefined || this.pending >= mostNews) return
    this.adder = undefined
    adder()
  }

  readonly awaitNews: Effect.Effect<void> = Effect.async((resume) => {
    if (this.pending > 0 || this.failures.length > 0 || this.isOver) return resume(Effect.void)
    this.reader = () => resume(Effect.void)
    return Effect.sync(() => {
      this.reader = undefined
    })
  })

  readonly awaitRoom: Effect.Effect<void> = Effect.async((resume) => {
    if (this.pending < mostNews) return resume(Effect.void)
    this.adder = () => resume(Effect.void)
    return Effect.sync(() => {
      this.adder = undefined
    })
  })

  get isOver(): boolean {
    return this.exit !== undefined &&
      (Exit.isFailure(this.exit) || (this.size === 0 && this.unsettled === 0))
  }
}

class Member extends Subscriber {
  cursor: Transition.Cursor | undefined = undefined
  isNews = false

  constructor(readonly merge: Merge) {
    super()
  }

  get policy(): WatchPolicy {
    return this.merge.policy
  }

  get wants(): "changes" {
    return "changes"
  }

  notify(): void {
    if (this.isNews) return
    this.isNews = true
    this.merge.push(this)
  }
}

/** @internal */
export const watchAll = <E, R>(
  scheduler: Scheduler,
  queue: JobQueueService,
  jobs: Stream.Stream<Job.JobRef, E, R>,
  options: Options = {}
): Stream.Stream<Told, E, R> =>
  Stream.unwrapScoped(Effect.gen(function*() {
    const merge = new Merge(yield* policyOf(options), yield* rules)
    const scope = yield* Effect.scope
    yield* Effect.addFinalizer(() =>
      scheduler.unsubscribeWhere((subscriber) => subscriber instanceof Member && subscriber.merge === merge)
    )

    const isWatched = (job: Job.JobRef): boolean => {
      let found = false
      scheduler.find(job)?.each((subscriber) => {
        if (subscriber instanceof Member && subscriber.merge === merge) found = true
      })
      return found
    }

    const add = (job: Job.JobRef): Effect.Effect<void> =>
      Effect.suspend(() => {
        if (isWatched(job)) return Effect.void
        const member = new Member(merge)
        merge.size++
        return Effect.map(scheduler.subscribe(member, job), () => {
          // known already, from others who watch it or did
          if (member.hasSnapshot || member.end !== undefined) member.notify()
        })
      })

    yield* Stream.runForEachChunk(jobs, (chunk) =>
      Effect.forEach(chunk, (job) => Effect.zipRight(merge.awaitRoom, add(job)), { discard: true })).pipe(
        Effect.onExit((exit) =>
          Effect.sync(() => {
            merge.exit = exit
            merge.wake()
          })
        ),
        Effect.forkScoped
      )

    const next: Effect.Effect<Option.Option<readonly [Chunk.Chunk<Told>, void]>, E> = Effect.suspend(() => {
      const told: Array<Told> = merge.failures
      merge.failures = []
      const expired: Array<Effect.Effect<unknown>> = []
      let defect: Cause.Cause<never> | undefined
      for (let i = 0; i < chunkSize && defect === undefined; i++) {
        const member = merge.pop()
        if (member === undefined) {
          break
        }
        defect = take(scheduler, queue, merge, member, scope, told, expired)
      }
      merge.taking()
      if (defect !== undefined) {
        return Effect.failCause(defect)
      }
      const begun = expired.length === 0 ? Effect.void : Effect.all(expired, { discard: true })
      if (told.length > 0) {
        return Effect.as(begun, Option.some([Chunk.unsafeFromArray(told), undefined] as const))
      }
      if (expired.length === 0 && merge.isOver && merge.pending === 0) {
        // it failed with the error of the references, if with any
        return Effect.as(merge.exit as Exit.Exit<void, E>, Option.none())
      }
      return Effect.zipRight(begun, Effect.zipRight(merge.awaitNews, next))
    })
    return Stream.unfoldChunkEffect(undefined, () =>
      next)
  })).pipe(Stream.withSpan("JobHub.watchAll", { captureStackTrace: false }))

/** Adds what is new of a job to what is told; `expired` is what is to be begun for that. */
const take = (
  scheduler: Scheduler,
  queue: JobQueueService,
  merge: Merge,
  member: Member,
  scope: Scope.Scope,
  told: Array<Told>,
  expired: Array<Effect.Effect<unknown>>
): Cause.Cause<never> | undefined => {
  const { policy } = merge
  member.isNews = false
  const looked = member.look()
  const news = looked && derived(member.cursor, looked, scheduler, policy, merge.rules)
  if (news !== undefined) {
    if (Either.isLeft(news)) {
      told.push({ _tag: "WatchFailed", job: looked!.status.job, error: news.left })
      merge.size--
      expired.push(scheduler.unsubscribe(member))
      return undefined
    }
    member.cursor = news.right.cursor
    for (const transition of news.right.transitions) told.push(transition)
  }
  const { end } = member
  if (end === undefined) return undefined
  const { job } = end
  merge.size--
  if (end.error === undefined) return undefined
  if (end.error._tag !== "Expired") {
    return Either.match(Cause.failureOrCause(end.error), {
      onLeft: (error: WatchError) => {
        told.push({ _tag: "WatchFailed", job, error })
        return undefined
      },
      onRight: (cause) => cause
    })
  }
  // to cancel the job may take a while, and the others are not to wait for it
  merge.unsettled++
  expired.push(Effect.forkIn(
    Effect.map(Effect.flip(failed(queue, job, policy, end.error)), (error) => {
      merge.unsettled--
      merge.failures.push({ _tag: "WatchFailed", job, error })
      merge.wake()
    }),
    scope
  ))
  return undefined
}
