/**
 * The loop behind every stream of a job: asks, waits, tries again, and gives up in time.
 *
 * @internal
 */
import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
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

interface State {
  readonly startedAt: number
  readonly sighting: Sighting | undefined
  readonly trouble: { readonly error: QueueError.QueueError; readonly since: number } | undefined
  readonly pause: number
  /** What is to be told before anything else is done. */
  readonly told: ReadonlyArray<WatchEvent>
}

const time = (millis: number): DateTime.Utc => DateTime.unsafeMake(millis)

const cancelPending = (queue: Service, job: Job.JobRef, timeout: Duration.Duration): Effect.Effect<string> =>
  queue.cancel(job).pipe(
    Effect.map((result) => result._tag === "Canceled" ? "canceled" : `not canceled, it is ${result.status}`),
    Effect.timeoutTo({
      duration: Duration.min(timeout, Duration.seconds(30)),
      onSuccess: (said) => said,
      onTimeout: () => "no answer in time"
    }),
    Effect.catchAll((error) => Effect.succeed(error.message))
  )

const expire = (
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
      ? yield* cancelPending(queue, job, policy.deadline.request)
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

// The longest that a timer can be set for. What is further away is looked at again after the next poll.
const longestTimer = 2 ** 31 - 1

/** @internal */
export const watch = (
  job: Job.JobRef,
  policy: WatchPolicy
): Stream.Stream<WatchEvent, QueueError.WatchError, JobQueue> =>
  Stream.unwrap(Effect.gen(function*() {
    const queue = yield* JobQueue
    const cadence = yield* Pacer.ofCadence(policy.cadence)
    const retry = yield* Pacer.make(policy.retry)
    const { request } = policy.deadline

    // a request that does not mind being interrupted must not hold up who gives up on it; one span a watch, not a poll
    const poll = Effect.withTracerEnabled(Effect.disconnect(queue.status(job)), false)

    const ask: Effect.Effect<Job.JobStatus, QueueError.QueueError> = Effect.timeoutFail(poll, {
      duration: request,
      onTimeout: () => new QueueError.RequestTimeout({ operation: "status", model: job.model, job, after: request })
    })

    const answered = (state: State, status: Job.JobStatus): Effect.Effect<State, QueueError.WatchError> => {
      if (status.job.requestId !== job.requestId || status.job.model !== job.model) {
        return Effect.fail(new QueueError.JobMismatch({ job: status.job, expected: job }))
      }
      // what nobody can make sense of must neither be skipped in silence nor polled for ever
      if (status._tag === "Unrecognized" && policy.unrecognized === "fail") {
        return Effect.fail(new QueueError.UnrecognizedStatus({ job, status: status.status, snapshot: status }))
      }
      return Effect.gen(function*() {
        const now = yield* Clock.currentTimeMillis
        yield* retry.reset
        const pause = yield* cadence(status)
        const recovered: ReadonlyArray<WatchEvent> = state.trouble === undefined
          ? []
          : [{ _tag: "Recovered", since: time(state.trouble.since) }]
        const isPassedOver = status._tag === "Unrecognized" && policy.unrecognized === "ignore"
        const sighted: ReadonlyArray<WatchEvent> = isPassedOver ? [] : [{ _tag: "Sighted", status }]
        return {
          startedAt: state.startedAt,
          sighting: sight(state.sighting, status, now),
          trouble: undefined,
          pause,
          told: [...recovered, ...sighted]
        }
      })
    }

    const refused = (state: State, error: QueueError.QueueError): Effect.Effect<State, QueueError.QueueError> =>
      Effect.gen(function*() {
        // a job that was there and is not any more won't come back; before it was seen, a retry may allow for some lag
        if (error._tag === "NotFound" && state.sighting !== undefined) return yield* end(state, error)
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

    const step = (state: State): Effect.Effect<State, QueueError.WatchError> =>
      Effect.zipRight(state.pause === 0 ? Effect.void : Effect.sleep(state.pause), Effect.either(ask)).pipe(
        Effect.flatMap(Either.match({
          onLeft: (error): Effect.Effect<State, QueueError.WatchError> => refused(state, error),
          onRight: (status) => answered(state, status)
        }))
      )

    const stepInTime = (state: State): Effect.Effect<State, QueueError.WatchError> =>
      Effect.flatMap(Clock.currentTimeMillis, (now) => {
        const expiry = nextExpiry(state.startedAt, state.sighting, policy.deadline)
        const left = expiry.at - now
        return left > longestTimer ? step(state) : step(state).pipe(
          Effect.timeoutOption(Math.max(0, left)),
          Effect.flatMap(Option.match({
            onNone: () => expire(queue, job, policy, state, expiry),
            onSome: Effect.succeed
          }))
        )
      })

    const isOver = ({ sighting }: State): boolean =>
      sighting !== undefined && (
        Job.isTerminal(sighting.status) ||
        (sighting.status._tag === "Unrecognized" && policy.unrecognized === "end")
      )

    const startedAt = yield* Clock.currentTimeMillis
    const start: State = { startedAt, sighting: undefined, trouble: undefined, pause: 0, told: [] }
    return Stream.unfoldChunkEffect(start, (state) =>
      isOver(state)
        ? Effect.succeedNone
        : Effect.map(stepInTime(state), (next) => Option.some([Chunk.fromIterable(next.told), next] as const)))
  }))
