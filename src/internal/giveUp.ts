/**
 * How a watch gives up: on a request that takes too long, on a job that does, and on one that can't be watched.
 *
 * @internal
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Runtime from "effect/Runtime"
import type * as Job from "../Job.js"
import type { Service } from "../JobQueue.js"
import * as QueueError from "../QueueError.js"
import type { WatchPolicy } from "../WatchPolicy.js"
import { type Expiry, lastSeen, type Sighting } from "./sighting.js"
import { monotonic } from "./time.js"

/**
 * What was seen of the job, and the trouble met since then.
 *
 * @internal
 */
export interface Known {
  readonly sighting: Sighting | undefined
  readonly trouble: { readonly error: QueueError.QueueError; readonly since: number } | undefined
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

const cancelPending = (
  within: Within,
  queue: Service,
  job: Job.JobRef,
  timeout: Duration.Duration
): Effect.Effect<string> =>
  within(
    queue.cancel(job).pipe(
      Effect.map((result) => result._tag === "Canceled" ? "canceled" : `not canceled, it is ${result.status}`),
      Effect.catchAll((error) => Effect.succeed(error.message))
    ),
    Duration.toMillis(Duration.min(timeout, Duration.seconds(30))),
    Effect.succeed("no answer in time")
  )

/**
 * The error of a deadline that has passed; before that the job is canceled, where the policy says so.
 *
 * @internal
 */
export const expire = (
  within: Within,
  queue: Service,
  job: Job.JobRef,
  policy: WatchPolicy,
  { sighting, trouble }: Known,
  { after, error: DeadlineError }: Expiry
): Effect.Effect<never, QueueError.DeadlineError> =>
  Effect.gen(function*() {
    const now = monotonic(yield* Effect.clock)
    const canBeCanceled = sighting === undefined || sighting.status._tag === "Pending"
    const cancel = policy.deadline.onExpiry === "cancel-pending" && canBeCanceled
      ? yield* cancelPending(within, queue, job, policy.deadline.request)
      : undefined
    return yield* new DeadlineError({
      job,
      after,
      ...lastSeen(sighting, now),
      ...(trouble !== undefined && { lastError: trouble.error }),
      ...(cancel !== undefined && { cancel })
    })
  })

/**
 * The same error, with what the watch knew of the job when it met it.
 *
 * @internal
 */
export const final = (
  { sighting, trouble }: Known,
  error: QueueError.QueueError,
  now: number
): QueueError.QueueError => {
  const fields = {
    ...error,
    ...lastSeen(sighting, now),
    ...(trouble !== undefined && { trouble: trouble.error.message })
  }
  // the fields are those of its own class; TypeScript would want them to be those of every class
  const Class = QueueError[error._tag] as new(all: typeof fields) => QueueError.QueueError
  return new Class(fields)
}
