/**
 * A run: a submit, a watch, and a release if the watch ends before the job. `JobRun` exports `RunEvent` and
 * `RunOptions`, so they are not marked as internal: the build would leave them out.
 */
import * as Context from "effect/Context"
import type * as Data from "effect/Data"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import type * as Schedule from "effect/Schedule"
import type { JobRef } from "../../model/Job.js"
import type * as QueueError from "../../model/QueueError.js"
import type * as Transition from "../../model/Transition.js"
import * as ScheduleDriver from "../../policy/internal/scheduleDriver.js"
import type { JobQueue, SubmitRequest } from "../../queue/JobQueue.js"
import { cancelThenFail } from "../../watch/internal/expiry.js"
import { policyOf } from "../../watch/internal/outcome.js"
import * as JobStream from "../../watch/JobStream.js"
import type { JobWatcher } from "../../watch/JobWatcher.js"
import * as Own from "./ownership.js"
import * as Submit from "./submit.js"

/**
 * An event of a run in an effect: see `events`. `stage` is the name of the job's `JobStage`, if any.
 *
 * - `SubmitDelayed`: there is no job yet. The submit failed with `error`, and is tried again at `nextTryAt`.
 * - `Submitted`: there is a job.
 * - `Observed`: a transition of the job, or an error while watching it.
 * - `Released`: the job was released before its end.
 *
 * @since 0.1.0
 * @category models
 */
export type RunEvent = Data.TaggedEnum<{
  SubmitDelayed: { readonly stage: Option.Option<string> } & Submit.Delay
  Submitted: { readonly stage: Option.Option<string>; readonly job: JobRef; readonly key: string }
  Observed: { readonly stage: Option.Option<string>; readonly job: JobRef; readonly event: JobStream.WatchEvent }
  Released: { readonly stage: Option.Option<string>; readonly release: Own.Release }
}>

/** Receives the events of the runs in an effect, and returns whether it accepted them. @internal */
export class Listener extends Context.Reference<Listener>()("effect-queue-status/JobRun/Listener", {
  defaultValue: () => (_event: RunEvent): Effect.Effect<boolean> => Effect.succeed(false)
}) {}

/**
 * The options of a run, and any part of the policy for watching its job.
 *
 * @since 0.1.0
 * @category models
 */
export interface RunOptions extends Own.Options, JobStream.Options {
  /**
   * When to give up watching a job; a duration stands for `Deadline.total`. It begins when the job is submitted, and
   * anew for a job that is submitted again. It does not include the submit and its retries: `Effect.timeout` around the
   * run bounds all of it, and releases the job.
   */
  readonly deadline?: JobStream.Options["deadline"]
  /**
   * How often a job that ran out of retries is submitted again, and after which pauses. With a `key`, the jobs after
   * the first have `key/2`, `key/3` and so on. The log has a warning for each. Defaults to never.
   *
   * A job that the model failed (`JobFailed`) is not submitted again: its `reason` decides whether another job may
   * succeed. To submit one, repeat the run: with a `SubmitJournal` under another `key`, since the same key returns the
   * failed job.
   */
  readonly resubmit?: Schedule.Schedule<unknown, QueueError.JobRetriesExhausted> | undefined
}

/** Why a run failed, the last job that it submitted, if any, and the last cursor of that job, if any. @internal */
export interface RunFailure {
  readonly error: QueueError.RunError
  readonly job?: JobRef | undefined
  readonly cursor?: Transition.Cursor | undefined
}

/** Watches a job to its end. A deadline that cancels the job does so through its owner. */
const watch = (
  job: JobRef,
  options: RunOptions,
  owner: Own.Owner,
  cursorOf: () => Transition.Cursor | undefined,
  onEvent: (event: JobStream.WatchEvent) => Effect.Effect<unknown>
): Effect.Effect<Transition.Terminal, QueueError.WatchError, JobWatcher> =>
  Effect.gen(function*() {
    const { deadline, ...policy } = yield* policyOf(options)
    const watched = JobStream.watchToEnd(job, { ...policy, deadline: { ...deadline, onExpiry: "leave" } }, onEvent)
    if (deadline.onExpiry === "leave") return yield* watched
    const expired = (error: QueueError.DeadlineError) =>
      cursorOf()?.phase === "Running" ? Effect.fail(error) : cancelThenFail(error, owner.cancel(job), deadline, 0)
    return yield* Effect.catchTags(watched, { PendingTooLong: expired, WatchTimeout: expired })
  })

/**
 * Submits a job, watches it until it is done, and decodes its end. Fails with the reason if it is not done. A job that
 * ran out of retries may be submitted again.
 *
 * @internal
 */
export const runToEnd = <A, R>(
  request: SubmitRequest,
  options: RunOptions,
  stage: Option.Option<string>,
  decode: (end: Transition.Terminal) => Effect.Effect<A, QueueError.RunError, R>
): Effect.Effect<A, RunFailure, JobQueue | JobWatcher | R> =>
  Effect.suspend(() => {
    let last: { readonly job: JobRef; cursor: Transition.Cursor | undefined } | undefined

    const runOnce = (
      options: RunOptions
    ): Effect.Effect<Transition.Terminal, QueueError.RunError, JobQueue | JobWatcher> =>
      Effect.gen(function*() {
        const listener = yield* Listener
        const report = (event: RunEvent, otherwise: Effect.Effect<void>) =>
          Effect.flatMap(listener(event), (isTaken) => isTaken ? Effect.void : otherwise)
        const { onRelease } = options
        const owner = yield* Own.make(
          {
            ...options,
            onRelease: (release) => {
              const event = { _tag: "Released", stage, release } as const
              return onRelease === undefined
                ? report(event, Own.log(release))
                : Effect.flatMap(listener(event), () => onRelease(release))
            }
          },
          (delay) => report({ _tag: "SubmitDelayed", stage, ...delay }, Submit.logDelay(delay))
        )
        const end = yield* Effect.uninterruptibleMask((restore) =>
          Effect.gen(function*() {
            const job = yield* owner.acquire(request, restore)
            const current: typeof last = last = { job, cursor: undefined }
            const onEvent = (event: JobStream.WatchEvent) =>
              Effect.map(listener({ _tag: "Observed", stage, job, event }), () => {
                if ("cursor" in event) current.cursor = event.cursor
              })
            return yield* restore(
              Effect.zipRight(
                listener({ _tag: "Submitted", stage, job, key: owner.key }),
                watch(job, options, owner, () => current.cursor, onEvent)
              )
            ).pipe(Effect.onError(() => owner.release(job, current.cursor !== undefined)))
          })
        )
        // another run of this program with the same key, or an earlier process, canceled the job
        const isAgain = end._tag === "Canceled" && (yield* owner.wasCanceledByUs(end.job))
        return isAgain ? yield* runOnce(options) : end
      })

    return Effect.gen(function*() {
      const { key, resubmit } = options
      const pauses = resubmit === undefined ? undefined : yield* ScheduleDriver.make(resubmit)
      for (let nth = 1;; nth++) {
        const keyed = key === undefined || nth === 1 ? options : { ...options, key: `${key}/${nth}` }
        const end = yield* runOnce(keyed)
        const outputs = yield* Effect.either(decode(end))
        if (Either.isRight(outputs)) return outputs.right
        const error = outputs.left
        if (error._tag !== "JobRetriesExhausted" || pauses === undefined) return yield* error
        const pause = yield* pauses.next(error)
        if (Option.isNone(pause)) return yield* error
        const nextTryAt = DateTime.formatIso(DateTime.add(yield* DateTime.now, { millis: pause.value }))
        yield* Effect.logWarning(`${error.message}; submitted again at ${nextTryAt}`)
        yield* Effect.sleep(pause.value)
      }
    }).pipe(Effect.mapError((error) => ({ error, job: last?.job, cursor: last?.cursor })))
  })
