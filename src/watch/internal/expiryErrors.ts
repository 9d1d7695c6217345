/**
 * How a watch gives up: on a request that takes too long, on a job that does, and on one that can't be watched.
 *
 * @internal
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
import { type Expiry, lookTimeoutOf } from "./expiry.js"
import { type JobState, lastSeen } from "./jobState.js"

/**
 * The errors that polls have met since the last answer: the last one, when the first one and the last one came, and until
 * when the service asked not to be polled.
 *
 * @internal
 */
export interface Trouble {
  readonly error: QueueError.QueueError
  readonly since: number
  readonly at: number
  readonly notBefore: number
}

/** @internal */
export const troubleOf = (before: Trouble | undefined, error: QueueError.QueueError, now: number): Trouble => ({
  error,
  since: before?.since ?? now,
  at: now,
  notBefore: now + Duration.toMillis(retryAfterOf(error))
})

/**
 * What a watch knows when it ends without the end of the job.
 *
 * @internal
 */
export interface Known {
  readonly state: JobState
  readonly trouble: Trouble | undefined
  /** When the last request ended. */
  readonly landedAt: number
}

// What is interrupted takes some turns of the scheduler to end, with all that it began inside; a request over HTTP takes
// three. Whoever stopped it finds it ended. What does not mind being interrupted is not waited for any longer.
const turnsToEnd = 16

/** @internal */
export const awaitEnd = <A, E>(fiber: Fiber.RuntimeFiber<A, E>, turns: number = turnsToEnd): Effect.Effect<void> =>
  Effect.suspend(() =>
    fiber.unsafePoll() !== null || turns === 0
      ? Effect.void
      : Effect.zipRight(Effect.yieldNow(), awaitEnd(fiber, turns - 1))
  )

/**
 * What an effect comes to, if it does in time. It runs on a fiber of its own: a request that does not mind being
 * interrupted must not hold up who gives up on it. An answer that is there at once costs no timer; many polls of many
 * jobs feel the difference to `Effect.timeoutTo` around `Effect.disconnect`.
 *
 * @internal
 */
export const makeWithin = Effect.map(Effect.runtime<never>(), (runtime) => {
  // a watch that must not be interrupted gives up on a request all the same
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
            // what comes next may take its time
            timer.addObserver(() => resume(Effect.zipRight(stop, onTimeout)))
          })),
          stop
        )
      })
    )
})

/** @internal */
export type Within = Effect.Effect.Success<typeof makeWithin>

/**
 * Cancels a job because a deadline of its watch has passed: what came of it, in words.
 *
 * @internal
 */
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
    lookTimeoutOf(deadline),
    Effect.succeed("no answer in time")
  )

/**
 * The error of a deadline that has passed. Before that the job is canceled, where the policy says so and the job is not
 * known to be running; no sooner after the last poll than another poll could come.
 *
 * @internal
 */
export const expire = (
  within: Within,
  queue: Service,
  job: Job.JobRef,
  policy: WatchPolicy,
  { landedAt, state, trouble }: Known,
  { after, error: DeadlineError }: Expiry
): Effect.Effect<never, QueueError.DeadlineError> =>
  Effect.gen(function*() {
    const now = monotonic(yield* Effect.clock)
    const seen = lastSeen(state, now)
    let cancel: string | undefined
    if (policy.deadline.onExpiry === "cancel-pending" && state.cursor?.phase !== "Running") {
      yield* Effect.sleep(Math.max(0, landedAt + Duration.toMillis(minPause) - now))
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

/**
 * The same error, with what came of canceling the job.
 *
 * @internal
 */
export const withCancel = (error: QueueError.DeadlineError, cancel: string): QueueError.DeadlineError => {
  const fields = { ...error, cancel }
  // the fields are those of its own class; TypeScript would want them to be those of every class
  const Class = QueueError[error._tag] as new(all: typeof fields) => QueueError.DeadlineError
  return new Class(fields)
}

/**
 * The same error, with what the watch knew of the job when it met it.
 *
 * @internal
 */
export const final = (
  { state, trouble }: Pick<Known, "state" | "trouble">,
  error: QueueError.QueueError,
  now: number
): QueueError.QueueError => {
  const fields = {
    ...error,
    ...lastSeen(state, now),
    ...(trouble !== undefined && { previousError: trouble.error.message })
  }
  // the fields are those of its own class; TypeScript would want them to be those of every class
  const Class = QueueError[error._tag] as new(all: typeof fields) => QueueError.QueueError
  return new Class(fields)
}
