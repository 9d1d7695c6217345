/**
 * The loop behind every stream of a job: asks, waits, tries again, and gives up in time.
 *
 * @internal
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"
import * as Job from "../Job.js"
import { JobQueue } from "../JobQueue.js"
import type { Service } from "../JobQueue.js"
import * as QueueError from "../QueueError.js"
import { retryAfterOf } from "../Retry.js"
import type { WatchPolicy } from "../WatchPolicy.js"
import * as Pacer from "./pacer.js"
import { type Expiry, lastSeen, nextExpiry, sight, type Sighting } from "./sighting.js"

/** @internal */
export type WatchEvent =
  | { readonly _tag: "Sighted"; readonly status: Job.JobStatus }
  | {
    readonly _tag: "Trouble"
    readonly error: QueueError.QueueError
    readonly since: DateTime.Utc
    readonly nextTryAt: DateTime.Utc
  }
  | { readonly _tag: "Recovered"; readonly since: DateTime.Utc }

/** @internal */
export interface State {
  readonly startedAt: number
  readonly sighting: Sighting | undefined
  readonly trouble: { readonly error: QueueError.QueueError; readonly since: number } | undefined
  readonly pause: number
  /** What the last turn told. */
  readonly told: ReadonlyArray<WatchEvent>
}

const time = (millis: number): DateTime.Utc => DateTime.unsafeMake(millis)

// What is interrupted takes some turns of the scheduler to end, with all that it began inside; a request over HTTP takes
// three. Whoever stopped it finds it ended. What does not mind being interrupted is not waited for any longer.
const turnsToEnd = 16

const awaitEnd = <A, E>(fiber: Fiber.RuntimeFiber<A, E>, turns: number = turnsToEnd): Effect.Effect<void> =>
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

const expire = (
  within: Within,
  queue: Service,
  job: Job.JobRef,
  policy: WatchPolicy,
  state: State,
  { after, error: DeadlineError }: Expiry
): Effect.Effect<never, QueueError.DeadlineError> =>
  Effect.gen(function*() {
    const now = yield* Clock.currentTimeMillis
    const { sighting, trouble } = state
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

// The same error, with what the watch knew of the job when it met it.
const end = ({ sighting, trouble }: State, error: QueueError.QueueError): Effect.Effect<never, QueueError.QueueError> =>
  Effect.flatMap(Clock.currentTimeMillis, (now) => {
    const fields = {
      ...error,
      ...lastSeen(sighting, now),
      ...(trouble !== undefined && { trouble: trouble.error.message })
    }
    // the fields are those of its own class; TypeScript would want them to be those of every class
    const Class = QueueError[error._tag] as new(all: typeof fields) => QueueError.QueueError
    return Effect.fail(new Class(fields))
  })

/**
 * A watch, turn by turn: each waits for the cadence, asks, and tells what is new.
 *
 * @internal
 */
export interface Watch {
  readonly start: State
  readonly turn: (state: State) => Effect.Effect<State, QueueError.WatchError>
  readonly isOver: (state: State) => boolean
}

/** @internal */
export const make = (job: Job.JobRef, policy: WatchPolicy): Effect.Effect<Watch, never, JobQueue> =>
  Effect.gen(function*() {
    const within = yield* makeWithin
    const queue = yield* JobQueue
    const cadence = yield* Pacer.ofCadence(policy.cadence)
    const retry = yield* Pacer.make(policy.retry)
    const { request } = policy.deadline
    const requestMillis = Duration.toMillis(request)

    // one span a watch, not a poll
    const poll = Effect.either(Effect.withTracerEnabled(queue.status(job), false))

    const answered = (state: State, status: Job.JobStatus): Effect.Effect<State, QueueError.WatchError> => {
      if (status.job.requestId !== job.requestId || status.job.model !== job.model) {
        return Effect.fail(new QueueError.JobMismatch({ job: status.job, expected: job }))
      }
      // what nobody can make sense of must neither be skipped in silence nor polled for ever
      if (status._tag === "Unrecognized" && policy.unrecognized === "fail") {
        return Effect.fail(new QueueError.UnrecognizedStatus({ job, status: status.status, snapshot: status }))
      }
      const isPassedOver = status._tag === "Unrecognized" && policy.unrecognized === "ignore"
      const sighted: ReadonlyArray<WatchEvent> = isPassedOver ? [] : [{ _tag: "Sighted", status }]
      return Clock.clockWith((clock) =>
        Effect.map(
          state.trouble === undefined ? cadence(status) : Effect.zipRight(retry.reset, cadence(status)),
          (pause) => ({
            startedAt: state.startedAt,
            sighting: sight(state.sighting, status, clock.unsafeCurrentTimeMillis()),
            trouble: undefined,
            pause,
            told: state.trouble === undefined
              ? sighted
              : [{ _tag: "Recovered", since: time(state.trouble.since) }, ...sighted]
          })
        )
      )
    }

    const refused = (state: State, error: QueueError.QueueError): Effect.Effect<State, QueueError.QueueError> =>
      Effect.gen(function*() {
        const pause = yield* retry.next(error)
        if (Option.isNone(pause)) return yield* end(state, error)
        const now = yield* Clock.currentTimeMillis
        const since = state.trouble?.since ?? now
        const wait = Math.max(Pacer.clampPause(pause.value), Duration.toMillis(retryAfterOf(error)))
        return {
          ...state,
          trouble: { error, since },
          pause: wait,
          told: [{ _tag: "Trouble", error, since: time(since), nextTryAt: time(now + wait) }]
        }
      })

    const requestTimeout = Effect.sync(() =>
      Either.left(new QueueError.RequestTimeout({ operation: "status", model: job.model, job, after: request }))
    )

    const ask = (state: State, expiry: Expiry): Effect.Effect<State, QueueError.WatchError> =>
      Clock.clockWith((clock) => {
        const left = expiry.at - clock.unsafeCurrentTimeMillis()
        const asked = left < requestMillis
          ? within(poll, left, expire(within, queue, job, policy, state, expiry))
          : within(poll, requestMillis, requestTimeout)
        return Effect.flatMap(
          asked,
          (answer) => Either.isRight(answer) ? answered(state, answer.right) : refused(state, answer.left)
        )
      })

    // Waits and asks, unless a deadline of the watch passes before.
    const turn = (state: State): Effect.Effect<State, QueueError.WatchError> =>
      Clock.clockWith((clock) => {
        const expiry = nextExpiry(state.startedAt, state.sighting, policy.deadline)
        const left = expiry.at - clock.unsafeCurrentTimeMillis()
        return left <= state.pause
          ? Effect.zipRight(Effect.sleep(Math.max(0, left)), expire(within, queue, job, policy, state, expiry))
          : state.pause === 0
          ? ask(state, expiry)
          : Effect.flatMap(Effect.sleep(state.pause), () => ask(state, expiry))
      })

    const isOver = ({ sighting }: State): boolean =>
      sighting !== undefined && (
        Job.isTerminal(sighting.status) ||
        (sighting.status._tag === "Unrecognized" && policy.unrecognized === "end")
      )

    const startedAt = yield* Clock.currentTimeMillis
    const start: State = { startedAt, sighting: undefined, trouble: undefined, pause: 0, told: [] }
    return { start, turn, isOver }
  })
