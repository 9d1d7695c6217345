/**
 * The errors of watches, and the timeouts that lead to them.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Runtime from "effect/Runtime"
import type * as Job from "../../model/Job.js"
import * as QueueError from "../../model/QueueError.js"
import type { Deadline } from "../../policy/Deadline.js"
import { minPause } from "../../policy/internal/pauses.js"
import { retryAfterOf } from "../../policy/internal/retryAfter.js"
import { monotonic } from "../../policy/internal/time.js"
import type { WatchPolicy } from "../../policy/WatchPolicy.js"
import type { CancelResult, Service } from "../../queue/JobQueue.js"
import { confirmTimeoutOf, type Expiry } from "./expiry.js"
import { type JobState, lastSeen } from "./jobState.js"

/** The errors of polls since the last response. @internal */
export interface Trouble {
  /** The last error. */
  readonly error: QueueError.QueueError
  /** When the first error came. */
  readonly since: number
  /** When the last error came. */
  readonly at: number
  /** Until when the service asked for no poll. */
  readonly notBefore: number
}

/** @internal */
export const troubleOf = (before: Trouble | undefined, error: QueueError.QueueError, now: number): Trouble => ({
  error,
  since: before?.since ?? now,
  at: now,
  notBefore: now + Duration.toMillis(retryAfterOf(error))
})

/** @internal */
export const requestTimeoutOf = (job: Job.JobRef, after: Duration.Duration): QueueError.ResponseTimeout =>
  new QueueError.ResponseTimeout({ operation: "status", model: job.model, job, after })

/** The knowledge of a watch that ends before its job. @internal */
export interface Known {
  readonly state: JobState
  readonly trouble: Trouble | undefined
  /** When the last request ended. */
  readonly endedAt: number
}

// An interrupted fiber needs a few scheduler turns to finish its children (three for a request over HTTP). A fiber that
// needs more is uninterruptible, and is not waited for.
const turnsToEnd = 16

/** Waits until an interrupted fiber has ended. @internal */
export const awaitEnd = <A, E>(fiber: Fiber.RuntimeFiber<A, E>, turns: number = turnsToEnd): Effect.Effect<void> =>
  Effect.suspend(() =>
    fiber.unsafePoll() !== null || turns === 0
      ? Effect.void
      : Effect.zipRight(Effect.yieldNow(), awaitEnd(fiber, turns - 1))
  )

/**
 * Runs an effect with a timeout. The effect has a fiber of its own: an uninterruptible request must not delay the timeout.
 * An effect that ends at once costs no timer, in contrast to `Effect.timeoutTo` around `Effect.disconnect`.
 * @internal
 */
export const makeWithin = Effect.map(Effect.runtime<never>(), (runtime) => {
  // the timeout applies to uninterruptible watches as well
  const fork = <A, E>(effect: Effect.Effect<A, E>) => Runtime.runFork(runtime)(Effect.interruptible(effect))
  return <A, E, E2>(
    effect: Effect.Effect<A, E>,
    millis: number,
    onTimeout: Effect.Effect<A, E2>
  ): Effect.Effect<A, E | E2> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.withFiberRuntime((self) => {
        const fiber = fork(effect)
        const exit = fiber.unsafePoll()
        if (exit !== null) return exit
        const timer = fork(Effect.sleep(millis))
        const stop = Fiber.interruptAsFork(timer, self.id()).pipe(
          Effect.zipRight(Fiber.interruptAsFork(fiber, self.id())),
          Effect.zipRight(awaitEnd(fiber))
        )
        return Effect.ensuring(
          restore(Effect.async<A, E | E2>((resume) => {
            fiber.addObserver(resume)
            // `stop` may take a while
            timer.addObserver(() => resume(Effect.zipRight(stop, onTimeout)))
          })),
          stop
        )
      })
    )
})

/** @internal */
export type Within = Effect.Effect.Success<typeof makeWithin>

/** Cancels a job because a deadline of its watch has passed. Returns a description of the result. @internal */
export const cancelExpired = (
  within: Within,
  cancel: Effect.Effect<CancelResult, QueueError.QueueError>,
  deadline: Deadline
): Effect.Effect<string> =>
  within(
    cancel.pipe(
      Effect.map((result) => result._tag === "Canceled" ? "canceled" : `not canceled, it is ${result.status}`),
      Effect.catchAll((error) => Effect.succeed(error.message))
    ),
    confirmTimeoutOf(deadline),
    Effect.succeed("no answer in time")
  )

/**
 * Fails with the error of a deadline that has passed. If the policy says so, and the job is not known to be running,
 * cancels the job first, no sooner after the last poll than another poll could come.
 * @internal
 */
export const expire = (
  within: Within,
  queue: Service,
  job: Job.JobRef,
  policy: WatchPolicy,
  { endedAt, state, trouble }: Known,
  { after, error: DeadlineError }: Expiry
): Effect.Effect<never, QueueError.DeadlineError> =>
  Effect.gen(function*() {
    const now = monotonic(yield* Effect.clock)
    const seen = lastSeen(state, now)
    let cancel: string | undefined
    if (policy.deadline.onExpiry === "cancel-pending" && state.cursor?.phase !== "Running") {
      yield* Effect.sleep(Math.max(0, endedAt + Duration.toMillis(minPause) - now))
      cancel = yield* cancelExpired(within, queue.cancel(job), policy.deadline)
    }
    return yield* new DeadlineError({
      job,
      after,
      ...seen,
      ...(trouble !== undefined && { lastError: trouble.error }),
      ...(cancel !== undefined && { cancel })
    })
  })

// the fields are those of the error's own class; TypeScript would require those of every class
const withFields = <E extends QueueError.DeadlineError | QueueError.QueueError>(error: E, fields: object): E =>
  new (QueueError[error._tag] as unknown as new(fields: object) => E)({ ...error, ...fields })

/** Adds the result of canceling the job. @internal */
export const withCancel = (error: QueueError.DeadlineError, cancel: string): QueueError.DeadlineError =>
  withFields(error, { cancel })

/** Adds what the watch knew of the job before the error. @internal */
export const withKnown = (
  { state, trouble }: Pick<Known, "state" | "trouble">,
  error: QueueError.QueueError,
  now: number
): QueueError.QueueError =>
  withFields(error, { ...lastSeen(state, now), ...(trouble !== undefined && { previousError: trouble.error.message }) })
