/**
 * The loop behind every stream of a job: asks, waits, tries again, and gives up in time.
 *
 * @internal
 */
import * as Clock from "effect/Clock"
import type * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Job from "../Job.js"
import { JobQueue } from "../JobQueue.js"
import * as QueueError from "../QueueError.js"
import type { WatchPolicy } from "../WatchPolicy.js"
import { expire, final, type Known, makeWithin } from "./giveUp.js"
import * as Pacer from "./pacer.js"
import { type Expiry, nextExpiry, sight } from "./sighting.js"
import { dateOf, monotonic } from "./time.js"

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
export interface State extends Known {
  readonly startedAt: number
  readonly pause: number
  /** What the last turn told. */
  readonly told: ReadonlyArray<WatchEvent>
}

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
            sighting: sight(state.sighting, status, monotonic(clock)),
            trouble: undefined,
            pause,
            told: state.trouble === undefined
              ? sighted
              : [{ _tag: "Recovered", since: dateOf(clock, state.trouble.since) }, ...sighted]
          })
        )
      )
    }

    const refused = (state: State, error: QueueError.QueueError): Effect.Effect<State, QueueError.QueueError> =>
      Effect.gen(function*() {
        const pause = yield* retry.next(error)
        const clock = yield* Effect.clock
        const now = monotonic(clock)
        if (Option.isNone(pause)) return yield* final(state, error, now)
        const since = state.trouble?.since ?? now
        const wait = Pacer.retryPause(pause.value, error)
        return {
          ...state,
          trouble: { error, since },
          pause: wait,
          told: [{ _tag: "Trouble", error, since: dateOf(clock, since), nextTryAt: dateOf(clock, now + wait) }]
        }
      })

    const requestTimeout = Effect.sync(() =>
      Either.left(new QueueError.RequestTimeout({ operation: "status", model: job.model, job, after: request }))
    )

    const ask = (state: State, expiry: Expiry): Effect.Effect<State, QueueError.WatchError> =>
      Clock.clockWith((clock) => {
        const left = expiry.at - monotonic(clock)
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
        const left = expiry.at - monotonic(clock)
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

    const startedAt = monotonic(yield* Effect.clock)
    const start: State = { startedAt, sighting: undefined, trouble: undefined, pause: 0, told: [] }
    return { start, turn, isOver }
  })
