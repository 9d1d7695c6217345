/**
 * One watch of one job, by way of a hub.
 *
 * @internal
 */
import * as Chunk from "effect/Chunk"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as Job from "../../Job.js"
import type { Service as JobQueueService } from "../../JobQueue.js"
import type { Options, TransitionsOptions } from "../../JobStream.js"
import { JobMismatch, type WatchError } from "../../QueueError.js"
import * as Transition from "../../Transition.js"
import type { WatchPolicy } from "../../WatchPolicy.js"
import { expire, makeWithin } from "../giveUp.js"
import { policyOf, spanOf } from "../watching.js"
import { type End, Subscriber } from "./records.js"
import type { Scheduler } from "./scheduler.js"

class Watch extends Subscriber {
  private resume: (() => void) | undefined = undefined

  constructor(readonly policy: WatchPolicy, readonly wants: Subscriber["wants"]) {
    super()
  }

  notify(): void {
    const { resume } = this
    this.resume = undefined
    resume?.()
  }

  private get hasNews(): boolean {
    return this.end !== undefined || (this.wants !== "end" && this.hasSnapshot)
  }

  readonly news: Effect.Effect<void> = Effect.async((resume) => {
    if (this.hasNews) return resume(Effect.void)
    this.resume = () => resume(Effect.void)
    return Effect.sync(() => {
      this.resume = undefined
    })
  })
}

/** @internal */
export const failed = (
  queue: JobQueueService,
  job: Job.JobRef,
  policy: WatchPolicy,
  error: Exclude<End["error"], undefined>
): Effect.Effect<never, WatchError> =>
  error._tag === "Expired"
    ? Effect.flatMap(makeWithin, (within) => expire(within, queue, job, policy, error.known, error.expiry))
    : Effect.failCause(error)

/**
 * What a snapshot tells beyond a cursor; `undefined` where whoever watches is not to hear of it.
 *
 * @internal
 */
export const derived = (
  cursor: Transition.Cursor | undefined,
  { at, status }: { readonly at: number; readonly status: Job.JobStatus },
  began: number,
  { unrecognized }: WatchPolicy,
  readProgress: Job.ReadProgress
) =>
  status._tag === "Unrecognized" && unrecognized === "ignore"
    ? undefined
    : Transition.derive(Option.fromNullable(cursor), status, {
      observedAt: DateTime.unsafeMake(began + at),
      readProgress,
      unrecognized: unrecognized === "end" ? "end" : "fail"
    })

const subscribed = (scheduler: Scheduler, job: Job.JobRef, options: Options, wants: Subscriber["wants"]) =>
  Effect.acquireRelease(
    Effect.tap(
      Effect.map(policyOf(options), (policy) => new Watch(policy, wants)),
      (watch) => scheduler.subscribe(watch, job)
    ),
    (watch) => scheduler.unsubscribe(watch)
  )

/** @internal */
export const statuses = (
  scheduler: Scheduler,
  queue: JobQueueService,
  job: Job.JobRef,
  options: Options = {}
): Stream.Stream<Job.JobStatus, WatchError> =>
  Stream.unwrapScoped(Effect.map(subscribed(scheduler, job, options, "polls"), (watch) => {
    const next: Effect.Effect<Option.Option<readonly [Chunk.Chunk<Job.JobStatus>, void]>, WatchError> = Effect.suspend(
      () => {
        const status = watch.look()?.status
        if (status !== undefined && (status._tag !== "Unrecognized" || watch.policy.unrecognized === "end")) {
          return Effect.succeedSome([Chunk.of(status), undefined] as const)
        }
        if (watch.end === undefined) return Effect.zipRight(watch.news, next)
        return watch.end.error === undefined
          ? Effect.succeedNone
          : failed(queue, job, watch.policy, watch.end.error)
      }
    )
    return Stream.unfoldChunkEffect(undefined, () => next)
  })).pipe(Stream.withSpan("JobHub.statuses", spanOf(job)))

/** @internal */
export const transitions = (
  scheduler: Scheduler,
  queue: JobQueueService,
  job: Job.JobRef,
  { from, ...options }: TransitionsOptions = {}
): Stream.Stream<Transition.Transition, WatchError> => {
  if (from !== undefined && !Transition.Cursor.isOf(from, job)) return Stream.fail(new JobMismatch({ job }))
  if (from !== undefined && from.phase === "Ended") return Stream.empty
  return Stream.unwrapScoped(
    Effect.zipWith(subscribed(scheduler, job, options, "changes"), Job.ProgressRule, (watch, readProgress) => {
      let cursor = from
      const next: Effect.Effect<Option.Option<readonly [Chunk.Chunk<Transition.Transition>, void]>, WatchError> = Effect
        .suspend(() => {
          if (cursor?.phase === "Ended") return Effect.succeedNone
          const looked = watch.look()
          const told = looked && derived(cursor, looked, scheduler.began, watch.policy, readProgress)
          if (told !== undefined) {
            if (Either.isLeft(told)) return Effect.fail(told.left)
            cursor = told.right.cursor
            const { transitions } = told.right
            if (transitions.length > 0) return Effect.succeedSome([Chunk.unsafeFromArray(transitions), undefined])
          }
          if (watch.end === undefined) return Effect.zipRight(watch.news, next)
          return watch.end.error === undefined
            ? Effect.succeedNone
            : failed(queue, job, watch.policy, watch.end.error)
        })
      return Stream.unfoldChunkEffect(undefined, () => next)
    })
  ).pipe(Stream.withSpan("JobHub.transitions", spanOf(job)))
}

/** @internal */
export const ended = (
  scheduler: Scheduler,
  queue: JobQueueService,
  job: Job.JobRef,
  options: Options = {}
): Effect.Effect<Transition.Terminal, WatchError> =>
  Effect.flatMap(policyOf(options), (policy) => {
    const watch = new Watch(policy, "end")
    const end: Effect.Effect<Transition.Terminal, WatchError> = Effect.suspend(() => {
      if (watch.end === undefined) return Effect.zipRight(watch.news, end)
      if (watch.end.error !== undefined) return failed(queue, job, policy, watch.end.error)
      return Effect.flatMap(
        // an end without an error has a snapshot, and that is terminal, or is to be taken for the end
        derived(undefined, watch.look()!, scheduler.began, policy, Job.readProgress)!,
        ({ transitions }) => Effect.succeed(transitions.at(-1) as Transition.Terminal)
      )
    })
    return Effect.acquireUseRelease(
      scheduler.subscribe(watch, job),
      () => end,
      () => scheduler.unsubscribe(watch)
    )
  }).pipe(Effect.withSpan("JobHub.result", spanOf(job)))
