/**
 * The loop behind every stream of a job: it polls, waits, retries, and ends at the deadlines.
 *
 * @internal
 */
import type * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import { rules } from "../../model/internal/rules.js"
import type * as Job from "../../model/Job.js"
import * as QueueError from "../../model/QueueError.js"
import type * as Transition from "../../model/Transition.js"
import * as Pacer from "../../policy/internal/scheduleDriver.js"
import { dateOf, monotonic } from "../../policy/internal/time.js"
import type { WatchPolicy } from "../../policy/WatchPolicy.js"
import { JobQueue } from "../../queue/JobQueue.js"
import { type Expiry, lookAgainAt, lookTimeoutOf, nextExpiry } from "./expiry.js"
import { expire, final, makeWithin, type Trouble, troubleOf } from "./expiryErrors.js"
import * as JobState from "./jobState.js"
import { stale as staleSnapshots } from "./metrics.js"
import { mismatchOf } from "./outcome.js"

/** @internal */
export type WatchEvent =
  | Transition.Transition
  | {
    readonly _tag: "Trouble"
    readonly job: Job.JobRef
    readonly error: QueueError.QueueError
    readonly since: DateTime.Utc
    readonly nextTryAt: DateTime.Utc
  }
  | { readonly _tag: "Recovered"; readonly job: Job.JobRef; readonly since: DateTime.Utc }

/** @internal */
export type Told = WatchEvent | { readonly _tag: "Sighted"; readonly status: Job.JobStatus }

/**
 * A watch, turn by turn: each turn waits until the next poll is due, polls, and returns what is new.
 *
 * @internal
 */
export interface Watch {
  readonly turn: Effect.Effect<ReadonlyArray<Told>, QueueError.WatchError>
  /** Whether the job has ended. */
  readonly isOver: () => boolean
}

/** @internal */
export const make = (
  job: Job.JobRef,
  policy: WatchPolicy,
  from?: Transition.Cursor | undefined
): Effect.Effect<Watch, never, JobQueue> =>
  Effect.gen(function*() {
    const within = yield* makeWithin
    const queue = yield* JobQueue
    const readers = yield* rules
    const cadence = yield* Pacer.ofCadence(policy.cadence)
    const retry = yield* Pacer.make(policy.retry)
    const clock = yield* Effect.clock

    const now = () => monotonic(clock)
    const startedAt = now()
    const state = JobState.make(from, startedAt)
    let trouble: Trouble | undefined
    // what the cadence is asked about, before the next poll
    let answer: Job.JobStatus | undefined
    let due = startedAt
    let sentAt = -Infinity
    let landedAt = -Infinity
    let freshUntil = -Infinity

    const expiry = () => nextExpiry(startedAt, state, policy.deadline)

    // one span a watch, not a poll
    const status = Effect.withTracerEnabled(queue.status(job), false)
    const response = Effect.either(Effect.flatMap(status, (status) => {
      const mismatch = mismatchOf(job, status)
      return mismatch === undefined ? Effect.succeed(status) : Effect.fail(mismatch)
    }))

    const poll = (millis: number, onTimeout: QueueError.RequestTimeout | undefined) =>
      Effect.suspend(() => {
        sentAt = now()
        return Effect.map(within(response, millis, Effect.succeed(onTimeout && Either.left(onTimeout))), (response) => {
          landedAt = now()
          return response
        })
      })

    const timeout = (after: Duration.Duration) =>
      new QueueError.RequestTimeout({ operation: "status", model: job.model, job, after })

    // A schedule may take its time, but no more than is left until a deadline.
    const untilExpiry = <A>(step: Effect.Effect<A>): Effect.Effect<Option.Option<A>> =>
      Effect.suspend(() => {
        const left = expiry().at - now()
        return left > 0 ? within(Effect.asSome(step), left, Effect.succeedNone) : Effect.succeedNone
      })

    const answered = (status: Job.JobStatus): Effect.Effect<ReadonlyArray<Told>, QueueError.WatchError> => {
      const told: Array<Told> = []
      let after = Effect.void
      if (trouble !== undefined) {
        told.push({ _tag: "Recovered", job, since: dateOf(clock, trouble.since) })
        trouble = undefined
        after = retry.reset
      }
      if (status._tag !== "Unrecognized" || policy.unrecognized !== "ignore") {
        const at = now()
        const derived = JobState.derive(state, status, {
          observedAt: dateOf(clock, at),
          ...readers,
          unrecognized: policy.unrecognized === "end" ? "end" : "fail"
        })
        if (Either.isLeft(derived)) return Effect.fail(derived.left)
        JobState.accept(state, status, at, derived.right)
        told.push({ _tag: "Sighted", status })
        for (const transition of derived.right.transitions) told.push(transition)
        if (derived.right.stale) {
          after = Effect.zipRight(after, Metric.increment(Metric.tagged(staleSnapshots, "model", job.model)))
        }
      }
      answer = state.status ?? status
      return Effect.as(after, told)
    }

    const refused = (error: QueueError.QueueError): Effect.Effect<ReadonlyArray<Told>, QueueError.QueueError> =>
      Effect.flatMap(untilExpiry(retry.next(error)), (next) => {
        const pause = Option.getOrUndefined(next)
        if (pause !== undefined && Option.isNone(pause)) {
          return Effect.fail(final({ state, trouble }, error, now()))
        }
        trouble = troubleOf(trouble, error, now())
        const { since } = trouble
        due = now() + (pause === undefined ? 0 : Pacer.retryPause(pause.value, error))
        return Effect.succeed([
          { _tag: "Trouble", job, error, since: dateOf(clock, since), nextTryAt: dateOf(clock, due) }
        ])
      })

    /** A deadline has passed: looks once more, if need be, and reports it. */
    const passed = (deadline: Expiry): Effect.Effect<ReadonlyArray<Told>, QueueError.WatchError> =>
      Effect.suspend(() => {
        const until = now() + lookTimeoutOf(policy.deadline)
        const at = lookAgainAt(
          deadline,
          { sentAt, landedAt, freshUntil, notBefore: trouble?.notBefore ?? 0 },
          now(),
          until
        )
        const report = Effect.suspend(() => expire(within, queue, job, policy, { state, trouble, landedAt }, deadline))
        if (at === undefined) return report
        const look = poll(until - at, timeout(Duration.millis(until - at)))
        return Effect.flatMap(at > now() ? Effect.delay(look, at - now()) : look, (response) => {
          if (response !== undefined && Either.isRight(response)) return answered(response.right)
          if (response !== undefined) trouble = troubleOf(trouble, response.left, now())
          return report
        })
      })

    const pollOrExpire = Effect.suspend(() => {
      const deadline = expiry()
      const left = deadline.at - now()
      if (left <= 0) return passed(deadline)
      const { request } = policy.deadline
      const millis = Duration.toMillis(request)
      return Effect.flatMap(
        millis <= left ? poll(millis, timeout(request)) : poll(left, undefined),
        (response) =>
          // no answer until the deadline
          response === undefined
            ? passed(deadline)
            : Either.isRight(response)
            ? answered(response.right)
            : refused(response.left)
      )
    })

    const plan = Effect.suspend(() => {
      if (answer === undefined) return Effect.void
      const status = answer
      answer = undefined
      return Effect.map(untilExpiry(cadence(status)), (next) => {
        const pause = Option.getOrUndefined(next)
        due = now() + (pause ?? 0)
        if (state.status !== undefined && pause !== undefined) freshUntil = state.at + pause
      })
    })

    const wait = Effect.suspend(() => {
      const pause = Math.min(due, expiry().at) - now()
      return pause > 0 ? Effect.sleep(pause) : Effect.void
    })

    return {
      turn: Effect.zipRight(Effect.zipRight(plan, wait), pollOrExpire),
      isOver: () => state.cursor?.phase === "Ended"
    }
  })
