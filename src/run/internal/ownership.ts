/**
 * The ownership of a job: its release when its owner ends. `JobRun` exports `Release` and `ScopedOptions`, so they are
 * not marked as internal: the build would leave them out.
 */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { format, type JobRef } from "../../model/Job.js"
import * as QueueError from "../../model/QueueError.js"
import { respectRetryAfter } from "../../policy/Retry.js"
import { makeWithin } from "../../queue/internal/fiber.js"
import type { CancelResult, SubmitRequest } from "../../queue/JobQueue.js"
import * as Submit from "./submit.js"

/**
 * The outcome of a job whose owner ended before it.
 *
 * - `Canceled`: it was pending, and is canceled.
 * - `Ended`: it had ended before; `status` is `done`, `failed` or `canceled`.
 * - `StillRunning`: a worker has claimed it. It continues, and is billed.
 * - `NotReleased`: it could not be canceled in time; `error` is the last error. It may still be pending.
 * - `Unknown`: it is unknown whether there is a job: the submit failed with `SubmitUncertain`, or the owner ended
 *   before the response, which did not arrive in time. If there is a job, its `info` has this `client_key`.
 *
 * @since 0.1.0
 * @category models
 */
export type Release = Data.TaggedEnum<{
  Canceled: { readonly job: JobRef }
  Ended: { readonly job: JobRef; readonly status: string }
  StillRunning: { readonly job: JobRef; readonly status: string }
  NotReleased: { readonly job: JobRef; readonly error: QueueError.QueueError }
  Unknown: { readonly model: string; readonly key: string }
}>

/**
 * Creates a `Release`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const Release = Data.taggedEnum<Release>()

/** @internal */
export const log: (release: Release) => Effect.Effect<void> = Release.$match({
  Canceled: ({ job }) => Effect.logDebug(`${format(job)}: canceled, its owner has ended`),
  Ended: ({ job, status }) => Effect.logDebug(`${format(job)}: its owner has ended, it is ${status}`),
  StillRunning: ({ job, status }) =>
    Effect.logWarning(`${format(job)}: its owner has ended, but it is ${status} and goes on`),
  NotReleased: ({ error, job }) =>
    Effect.logWarning(`${format(job)}: its owner has ended, and it could not be canceled`, error),
  Unknown: ({ key, model }) => Effect.logWarning(`${model}: it is not known whether there is a job (key ${key})`)
})

const defaultReleaseTimeout: Duration.Duration = Duration.seconds(5)

const ended: ReadonlySet<string> = new Set(["done", "failed", "canceled"])

// Retries until the time limit: 0.1, 0.3, 0.7, 1.5, 2.5 … seconds after the first attempt.
const schedule = respectRetryAfter(
  Schedule.exponential(Duration.millis(100)).pipe(Schedule.union(Schedule.spaced(Duration.seconds(1))))
)

/**
 * The options of a submit whose job is released if its owner ends before it.
 *
 * @since 0.1.0
 * @category models
 */
export interface ScopedOptions extends Submit.SubmitOptions {
  /**
   * The time limit for releasing the job. Closing the scope, or interrupting the effect, takes at most this long, or
   * twice as long if the submit was in flight. Defaults to 5 seconds.
   */
  readonly releaseTimeout?: Duration.DurationInput | undefined
  /**
   * Receives the release, even if an error reports the same, because code that combines runs may drop an error.
   * Defaults to the log, as a warning if a job may continue, unless `events` reports the release.
   */
  readonly onRelease?: ((release: Release) => Effect.Effect<void>) | undefined
}

export interface Options extends ScopedOptions {
  /**
   * Whether a pending job is canceled when the run is interrupted or its watch fails. With `leave`, a run that is
   * interrupted during its submit still waits for the response, up to `releaseTimeout`: the journal must record the
   * job. Defaults to `cancel`.
   */
  readonly onInterrupt?: "cancel" | "leave" | undefined
}

/** The operations of an owner on its job. @internal */
export type Owner = Effect.Effect.Success<ReturnType<typeof make>>

/** @internal */
export const make = (options: Options, onDelay?: (delay: Submit.Delay) => Effect.Effect<void>) =>
  Effect.gen(function*() {
    const submission = yield* Submit.make(options, onDelay)
    const { key, wasCanceledByUs } = submission
    const within = yield* makeWithin
    const patience = Duration.toMillis(options.releaseTimeout ?? defaultReleaseTimeout)
    const onRelease = options.onRelease ?? log
    let isCanceled = false

    const cancel = (job: JobRef): Effect.Effect<CancelResult, QueueError.QueueError> =>
      Effect.map(submission.cancel(job), (result) => {
        isCanceled = result._tag === "Canceled"
        return result
      })

    const report = (release: Release): Effect.Effect<void> =>
      within(
        Effect.catchAllCause(
          Effect.suspend(() => onRelease(release)),
          (cause) => Effect.logError("onRelease has died", cause)
        ),
        patience,
        Effect.logWarning(`onRelease has not ended within ${Duration.format(Duration.millis(patience))}`)
      )

    const cancelInTime = (job: JobRef, wasSeen: boolean): Effect.Effect<Release> =>
      Effect.suspend(() => {
        if (isCanceled) return Effect.succeed(Release.Canceled({ job }))
        let last: QueueError.QueueError = new QueueError.ResponseTimeout({
          operation: "cancel",
          model: job.model,
          job,
          after: Duration.millis(patience)
        })
        return within(
          cancel(job).pipe(
            Effect.tapError((error) => Effect.sync(() => last = error)),
            Effect.retry({
              schedule,
              // a new job may not have reached every replica
              while: (error) => QueueError.isTransient(error) || (error._tag === "JobNotFound" && !wasSeen)
            }),
            Effect.match({
              onFailure: (error) => Release.NotReleased({ job, error }),
              onSuccess: (result) =>
                result._tag === "Canceled"
                  ? Release.Canceled({ job })
                  : ended.has(result.status)
                  ? Release.Ended({ job, status: result.status })
                  : Release.StillRunning({ job, status: result.status })
            })
          ),
          patience,
          Effect.sync(() => Release.NotReleased({ job, error: last }))
        )
      })

    /** Cancels the job if it is pending, and reports the result. Never fails, and takes a bounded time. */
    const release = (job: JobRef, wasSeen: boolean): Effect.Effect<void> =>
      options.onInterrupt === "leave" ? Effect.void : Effect.flatMap(cancelInTime(job, wasSeen), report)

    /** Submits (see `Submit.make`). If that is interrupted, the job is released, if there is one. */
    const acquire = (
      request: SubmitRequest,
      restore: Submit.Restore
    ): Effect.Effect<JobRef, QueueError.SubmitError> => {
      const reportUnknown = report(Release.Unknown({ model: request?.model, key }))
      const onAbandoned = (job: JobRef | "unknown" | undefined) =>
        job === undefined ? Effect.void : job === "unknown" ? reportUnknown : release(job, false)
      return submission.acquire(request, { restore, patience, onAbandoned }).pipe(
        // code that combines runs may drop the error
        Effect.tapErrorTag("SubmitUncertain", () => reportUnknown)
      )
    }

    return { key, acquire, release, cancel, wasCanceledByUs }
  })
