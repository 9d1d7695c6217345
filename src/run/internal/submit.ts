/**
 * A submit that creates at most one job, and the journal of its key. (Not marked as internal: the build would remove the
 * import below, which a public type needs.)
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import { jsonPrint } from "../../model/internal/fingerprint.js"
import { isSameJob } from "../../model/internal/jobKey.js"
import { uuidv7 } from "../../model/internal/uuid.js"
import type { JobRef } from "../../model/Job.js"
import * as QueueError from "../../model/QueueError.js"
import * as ScheduleDriver from "../../policy/internal/scheduleDriver.js"
import type { Retry } from "../../policy/Retry.js"
import * as WatchPolicy from "../../policy/WatchPolicy.js"
import { checkSubmit, invalidSubmit } from "../../queue/internal/request.js"
import { JobQueue } from "../../queue/JobQueue.js"
import type { CancelResult, Service as Queue, SubmitRequest } from "../../queue/JobQueue.js"
import { type Entry, type Service as Journal, SubmitJournal } from "../SubmitJournal.js"

// Not marked as internal: a public type extends it, and the build would remove it.
export interface Options {
  /**
   * The key of this submit: the same again after a restart of the program, such as `order-17`. It is written to the
   * job's `info`, as `client_key`. Defaults to a new key for each submit.
   */
  readonly key?: string | undefined
  /** When to send again a request that has not arrived. Defaults to the retry policy of `WatchPolicy.Default`. */
  readonly retry?: Retry | undefined
}

/**
 * The state of a submit. Its owner sets `isAbandoned`.
 *
 * @internal
 */
export interface State {
  readonly key: string
  /** When a request was sent that may have arrived. */
  sentAt: DateTime.Utc | undefined
  /** A response may still come, but nothing is sent again. */
  isAbandoned: boolean
  /** A job of an earlier submit with this key, which may be pending. */
  found: JobRef | undefined
}

/** The field of the key in the `info` of a job. */
const keyField = "client_key"

const newKey: Effect.Effect<string> = Effect.flatMap(
  Clock.currentTimeMillis,
  (now) => Effect.randomWith((random) => uuidv7(now, random))
)

/** @internal */
export const begin = ({ key }: Options): Effect.Effect<State> =>
  Effect.map(
    key === undefined ? newKey : Effect.succeed(key),
    (key) => ({ key, sentAt: undefined, isAbandoned: false, found: undefined })
  )

// `checkSubmit` validates the request itself.
const withKey = (request: SubmitRequest, key: string): Either.Either<SubmitRequest, QueueError.InvalidRequest> => {
  const info: unknown = request?.info
  if (typeof key !== "string" || key.trim() === "") {
    return Either.left(invalidSubmit(request, "key: a key must not be blank"))
  }
  if (info !== undefined && info !== null && !Predicate.isRecord(info)) return Either.right(request)
  const taken = info?.[keyField]
  return taken !== undefined && taken !== key
    ? Either.left(invalidSubmit(request, `info.${keyField}: is where the key of the submit goes`))
    : Either.right({ ...request, info: { ...info, [keyField]: key } })
}

/** Repeats a call that fails, with the pauses of a policy. */
const retrying =
  (retry: Retry, mayRetry: (error: QueueError.QueueError) => boolean) =>
  <A>(call: Effect.Effect<A, QueueError.QueueError>): Effect.Effect<A, QueueError.QueueError> =>
    Effect.flatMap(ScheduleDriver.make(retry), (driver) =>
      Effect.retry(call, {
        while: (error) =>
          Effect.flatMap(
            mayRetry(error) ? driver.next(error) : Effect.succeedNone,
            Option.match({
              onNone: () => Effect.succeed(false),
              onSome: (pause) => Effect.as(Effect.sleep(ScheduleDriver.retryPause(pause, error)), true)
            })
          )
      }))

/** Sends a request until it has arrived. A request that may have arrived is not sent again. */
const send = (
  queue: Queue,
  request: SubmitRequest,
  retry: Retry,
  state: State
): Effect.Effect<JobRef, QueueError.QueueError | QueueError.SubmitUncertain> =>
  DateTime.now.pipe(
    Effect.flatMap((now) => {
      state.sentAt = now
      return queue.submit(request)
    }),
    Effect.tapError((error) =>
      Effect.sync(() => {
        if (!QueueError.mayHaveArrived(error)) state.sentAt = undefined
      })
    ),
    retrying(
      retry,
      (error) => state.sentAt === undefined && !state.isAbandoned && QueueError.isTransient(error)
    ),
    Effect.mapError((error) =>
      state.sentAt === undefined
        ? error
        : new QueueError.SubmitUncertain({ model: request.model, key: state.key, at: state.sentAt, error })
    )
  )

const orWarn = (effect: Effect.Effect<void, QueueError.JournalError>, what: string): Effect.Effect<void> =>
  Effect.catchAll(effect, (error) => Effect.logWarning(what, error))

/** Returns whether a job is canceled, by a status call that is retried like a poll. */
const isCanceled = (queue: Queue, job: JobRef, retry: Retry): Effect.Effect<boolean, QueueError.QueueError> =>
  queue.status(job).pipe(
    retrying(retry, () => true),
    Effect.map((status) => status._tag === "Canceled" && isSameJob(status.job, job))
  )

/** Sends a request that the journal has no entry of, and records the result. */
const sendNoted = (
  queue: Queue,
  { journal, key }: Keyed,
  request: SubmitRequest,
  retry: Retry,
  state: State
): Effect.Effect<JobRef, QueueError.SubmitError> =>
  journal.withLock(key)(Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      const print = jsonPrint(request)
      const known = Option.getOrUndefined(yield* restore(journal.get(key)))
      if (known?._tag === "Canceling") {
        state.found = known.job
        if (yield* restore(isCanceled(queue, known.job, retry))) state.found = undefined
      }
      if (known !== undefined && (known._tag !== "Canceling" || state.found !== undefined)) {
        const { at, model } = known
        if (known.request !== print) {
          return yield* invalidSubmit(request, `key: ${key} was used for another request (${DateTime.formatIso(at)})`)
        }
        if (known._tag !== "Sent") return known.job
        return yield* new QueueError.SubmitUncertain({ model, key, at })
      }
      const entry: Entry = { _tag: "Sent", request: print, model: request.model, at: yield* DateTime.now }
      const exit = yield* Effect.exit(
        restore(Effect.zipRight(journal.set(key, entry), send(queue, request, retry, state)))
      )
      if (Exit.isSuccess(exit)) {
        // without this entry the next submit with this key fails with `SubmitUncertain`, but this one has the job
        yield* orWarn(
          journal.set(key, { ...entry, _tag: "Submitted", job: exit.value }),
          "a job that is not in the journal"
        )
      } else if (state.sentAt === undefined) {
        yield* orWarn(journal.remove(key), "a submit that was not sent, and the journal says that it was")
      }
      return yield* exit
    })
  ))

/**
 * A key, and its journal.
 *
 * @internal
 */
export interface Keyed {
  readonly key: string
  readonly journal: Journal
}

/**
 * Returns the journal of a submit, if any. A generated key is useless after a restart.
 *
 * @internal
 */
export const keyed = ({ key }: Options): Effect.Effect<Option.Option<Keyed>> =>
  key === undefined
    ? Effect.succeedNone
    : Effect.map(Effect.serviceOption(SubmitJournal), Option.map((journal) => ({ key, journal })))

/** @internal */
export const run = (
  input: SubmitRequest,
  options: Options,
  state: State
): Effect.Effect<JobRef, QueueError.SubmitError, JobQueue> =>
  Effect.gen(function*() {
    const queue = yield* JobQueue
    const request = yield* Effect.flatMap(withKey(input, state.key), checkSubmit)
    const retry = options.retry ?? (yield* WatchPolicy.Default).retry
    const noted = yield* keyed(options)
    return yield* Option.isNone(noted)
      ? send(queue, request, retry, state)
      : sendNoted(queue, noted.value, request, retry, state)
  })

/** @internal */
export const submit = (
  input: SubmitRequest,
  options: Options
): Effect.Effect<JobRef, QueueError.SubmitError, JobQueue> =>
  Effect.flatMap(begin(options), (state) => run(input, options, state))

/**
 * Cancels a job. The journal is updated before the request is sent: after a crash in between it shows that this program
 * canceled the job.
 *
 * @internal
 */
export const cancel = (
  queue: Queue,
  { journal, key }: Keyed,
  job: JobRef
): Effect.Effect<CancelResult, QueueError.QueueError> =>
  journal.withLock(key)(Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      const request = restore(queue.cancel(job))
      const known = yield* restore(journal.get(key)).pipe(
        Effect.catchAll((error) => Effect.as(Effect.logWarning(unnotedCancel, error), Option.none())),
        Effect.map(Option.getOrUndefined)
      )
      if (known === undefined || known._tag === "Sent" || !isSameJob(known.job, job)) return yield* request
      if (known._tag === "Submitted") yield* orWarn(journal.set(key, { ...known, _tag: "Canceling" }), unnotedCancel)
      const result = yield* request
      // the response to an earlier request may have been lost
      const isOurs = result._tag === "Canceled" || (known._tag === "Canceling" && result.status === "canceled")
      yield* orWarn(isOurs ? journal.remove(key) : journal.set(key, { ...known, _tag: "Submitted" }), unnotedCancel)
      return result
    })
  ))

const unnotedCancel = "a cancel that is not in the journal"

/**
 * Returns whether a canceled job was canceled by this program. Its key is free then.
 *
 * @internal
 */
export const wasCanceledByUs = (options: Options, job: JobRef): Effect.Effect<boolean, QueueError.JournalError> =>
  Effect.flatMap(
    keyed(options),
    Option.match({
      onNone: () => Effect.succeed(false),
      onSome: ({ journal, key }) =>
        journal.withLock(key)(Effect.gen(function*() {
          const known = Option.getOrUndefined(yield* journal.get(key))
          if (known === undefined || known._tag === "Sent" || !isSameJob(known.job, job)) return true
          if (known._tag === "Canceling") yield* journal.remove(key)
          return known._tag === "Canceling"
        }))
    })
  )
