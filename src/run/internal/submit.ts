/**
 * A submit that creates at most one job, the cancel of that job, and the journal of its key. `JobRun` exports
 * `SubmitOptions`, so it is not marked as internal: the build would leave it out.
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import { jsonPrint } from "../../model/internal/fingerprint.js"
import { isSameJob } from "../../model/internal/jobKey.js"
import { uuidv7 } from "../../model/internal/uuid.js"
import { isName, type JobRef } from "../../model/Job.js"
import * as QueueError from "../../model/QueueError.js"
import { retryAfterOf } from "../../policy/internal/pauses.js"
import * as ScheduleDriver from "../../policy/internal/scheduleDriver.js"
import type { Retry } from "../../policy/Retry.js"
import * as WatchPolicy from "../../policy/WatchPolicy.js"
import { awaitEnd, exitOf, fork, interrupt, runtime } from "../../queue/internal/fiber.js"
import { checkSubmit, invalidSubmit } from "../../queue/internal/request.js"
import { type CancelResult, JobQueue, type SubmitRequest } from "../../queue/JobQueue.js"
import { type Entry, type Service as Journal, SubmitJournal } from "../SubmitJournal.js"

/**
 * The options of a submit.
 *
 * @since 0.1.0
 * @category models
 */
export interface SubmitOptions {
  /**
   * The key of this submit: the same again after a restart of the program, such as `order-17`. It is written to the
   * job's `info`, as `client_key`. With a `SubmitJournal`, every later submit with the key returns the same job, also
   * after it has failed. Defaults to a new key for each submit.
   */
  readonly key?: string | undefined
  /**
   * When to send again a request that has not arrived. The log has a warning for each retry, unless `events` reports
   * it. Defaults to the retry policy of `WatchPolicy.Default`: 8 retries within a minute and a half, or longer if the
   * service asks for that (`Retry-After`).
   */
  readonly retry?: Retry | undefined
}

/** A request of a submit failed, and is sent again at `nextTryAt`. */
export interface Delay {
  /** The key of the submit. */
  readonly key: string
  /** The error of the request. */
  readonly error: QueueError.QueueError
  /** When it is sent again, by our clock. */
  readonly nextTryAt: DateTime.Utc
}

/** @internal */
export const logDelay = ({ error, key, nextTryAt }: Delay): Effect.Effect<void> =>
  Effect.logWarning(`${error.message}; next try at ${DateTime.formatIso(nextTryAt)} (key ${key})`)

/** Makes a part of an uninterruptible region interruptible again. @internal */
export type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/** The field of the key in the `info` of a job. */
const keyField = "client_key"

const newKey: Effect.Effect<string> = Effect.flatMap(
  Clock.currentTimeMillis,
  (now) => Effect.randomWith((random) => uuidv7(now, random))
)

// `checkSubmit` validates the request itself.
const withKey = (request: SubmitRequest, key: string): Either.Either<SubmitRequest, QueueError.InvalidRequest> => {
  const info: unknown = request?.info
  if (!isName(key)) {
    return Either.left(invalidSubmit(request, "key: a key must not be blank, and must be well-formed Unicode"))
  }
  if (info !== undefined && info !== null && !Predicate.isRecord(info)) return Either.right(request)
  const taken = info?.[keyField]
  return taken !== undefined && taken !== key
    ? Either.left(invalidSubmit(request, `info.${keyField}: is where the key of the submit goes`))
    : Either.right({ ...request, info: { ...info, [keyField]: key } })
}

const orWarn = (effect: Effect.Effect<void, QueueError.JournalError>, what: string): Effect.Effect<void> =>
  Effect.catchAll(effect, (error) => Effect.logWarning(what, error))

const unnotedCancel = "a cancel that is not in the journal"

/** Returns the entry of a key if it is about this job. */
const entryOf = (journal: Journal, key: string, job: JobRef) =>
  Effect.map(journal.get(key), (entry) => {
    const known = Option.getOrUndefined(entry)
    return known !== undefined && known._tag !== "Sent" && isSameJob(known.job, job) ? known : undefined
  })

/** A submit with its key, and the cancel of its job. @internal */
export const make = (options: SubmitOptions, onDelay: (delay: Delay) => Effect.Effect<void> = logDelay) =>
  Effect.gen(function*() {
    const queue = yield* JobQueue
    const key = options.key === undefined ? yield* newKey : options.key
    const retry = options.retry ?? (yield* WatchPolicy.Default).retry
    // a generated key is useless after a restart
    const journal = options.key === undefined
      ? undefined
      : Option.getOrUndefined(yield* Effect.serviceOption(SubmitJournal))
    // when a request was sent that may have arrived
    let sentAt: DateTime.Utc | undefined
    let isAbandoned = false
    // a job of an earlier submit with this key, which may be pending
    let found: JobRef | undefined

    /** Repeats a call that fails, with the pauses of the policy. */
    const retrying = <A>(
      call: Effect.Effect<A, QueueError.QueueError>,
      mayRetry: (error: QueueError.QueueError) => boolean
    ) =>
      Effect.flatMap(ScheduleDriver.make(retry), (driver) =>
        Effect.retry(call, {
          while: (error) =>
            Effect.gen(function*() {
              const next = mayRetry(error) ? yield* driver.next(error) : Option.none()
              if (Option.isNone(next)) return false
              // never shorter than `Retry-After`, whatever the policy returns
              const pause = Math.max(next.value, Duration.toMillis(retryAfterOf(error)))
              yield* onDelay({ key, error, nextTryAt: DateTime.add(yield* DateTime.now, { millis: pause }) })
              yield* Effect.sleep(pause)
              return true
            })
        }))

    /** Sends a request until it has arrived. A request that may have arrived is not sent again. */
    const send = (request: SubmitRequest) =>
      DateTime.now.pipe(
        Effect.flatMap((now) => {
          sentAt = now
          return queue.submit(request)
        }),
        Effect.tapError((error) =>
          Effect.sync(() => {
            if (!QueueError.mayHaveArrived(error)) sentAt = undefined
          })
        ),
        (call) => retrying(call, (error) => sentAt === undefined && !isAbandoned && QueueError.isTransient(error)),
        Effect.mapError((error) =>
          sentAt === undefined
            ? error
            : new QueueError.SubmitUncertain({ model: request.model, key, at: sentAt, error })
        )
      )

    /** Returns whether a job is canceled, by a status call that is retried like a poll. */
    const isCanceled = (job: JobRef) =>
      Effect.map(
        retrying(queue.status(job), () => true),
        (status) => status._tag === "Canceled" && isSameJob(status.job, job)
      )

    /** Sends a request that the journal has no entry of, and records the result. */
    const sendNoted = (journal: Journal, request: SubmitRequest) =>
      journal.withLock(key)(Effect.uninterruptibleMask((restore) =>
        Effect.gen(function*() {
          const print = jsonPrint(request)
          let known = Option.getOrUndefined(yield* restore(journal.get(key)))
          if (known?._tag === "Canceling") {
            found = known.job
            if (yield* restore(isCanceled(known.job))) found = known = undefined
          }
          if (known !== undefined) {
            const { at, model } = known
            if (known.request !== print) {
              return yield* invalidSubmit(
                request,
                `key: ${key} was used for another request (${DateTime.formatIso(at)})`
              )
            }
            if (known._tag !== "Sent") return known.job
            return yield* new QueueError.SubmitUncertain({ model, key, at })
          }
          const entry: Entry = { _tag: "Sent", request: print, model: request.model, at: yield* DateTime.now }
          const exit = yield* Effect.exit(restore(Effect.zipRight(journal.set(key, entry), send(request))))
          if (Exit.isSuccess(exit)) {
            // without this entry the next submit with this key fails with `SubmitUncertain`, but this one has the job
            yield* orWarn(
              journal.set(key, { ...entry, _tag: "Submitted", job: exit.value }),
              "a job that is not in the journal"
            )
          } else if (sentAt === undefined) {
            yield* orWarn(journal.remove(key), "a submit that was not sent, and the journal says that it was")
          }
          return yield* exit
        })
      ))

    const submit = (input: SubmitRequest): Effect.Effect<JobRef, QueueError.SubmitError> =>
      Effect.flatMap(
        Effect.flatMap(withKey(input, key), checkSubmit),
        (request) => journal === undefined ? send(request) : sendNoted(journal, request)
      )

    /** Returns the job, or `unknown` if there may be one. */
    const abandon = (fiber: Fiber.RuntimeFiber<JobRef, QueueError.SubmitError>, patience: number) =>
      Effect.gen(function*() {
        isAbandoned = true
        if (sentAt !== undefined) {
          yield* Fiber.await(fiber).pipe(Effect.interruptible, Effect.timeoutOption(patience))
        }
        // a submit that can't be interrupted, or its journal, must not delay the end
        interrupt(fiber)
        yield* awaitEnd(fiber)
        const exit = exitOf(fiber)
        return exit !== null && Exit.isSuccess(exit)
          ? exit.value
          : found ?? (sentAt === undefined ? undefined : "unknown")
      })

    /**
     * Submits, in an uninterruptible region: `restore` makes the wait interruptible. After an interruption, nothing is
     * sent again, and the response to a request that may have arrived is awaited for at most `patience` milliseconds.
     * `onAbandoned` receives the job, `unknown` if there may be one, or `undefined`.
     */
    const acquire = (request: SubmitRequest, { onAbandoned, patience, restore }: {
      readonly restore: Restore
      readonly patience: number
      readonly onAbandoned: (job: JobRef | "unknown" | undefined) => Effect.Effect<void>
    }) =>
      // not a child of the waiting fiber, whose interruption would stop it, or wait for it
      Effect.flatMap(runtime, (runtime) => {
        const fiber = fork(runtime, submit(request))
        return Effect.onInterrupt(
          restore(Fiber.join(fiber)),
          () => Effect.flatMap(abandon(fiber, patience), onAbandoned)
        )
      })

    const cancelNoted = (journal: Journal, job: JobRef) =>
      journal.withLock(key)(Effect.uninterruptibleMask((restore) =>
        Effect.gen(function*() {
          const request = restore(queue.cancel(job))
          const known = yield* restore(entryOf(journal, key, job)).pipe(
            Effect.catchAll((error) => Effect.as(Effect.logWarning(unnotedCancel, error), undefined))
          )
          if (known === undefined) return yield* request
          if (known._tag === "Submitted") {
            yield* orWarn(journal.set(key, { ...known, _tag: "Canceling" }), unnotedCancel)
          }
          const result = yield* request
          // the response to an earlier request may have been lost
          const isOurs = result._tag === "Canceled" || (known._tag === "Canceling" && result.status === "canceled")
          yield* orWarn(isOurs ? journal.remove(key) : journal.set(key, { ...known, _tag: "Submitted" }), unnotedCancel)
          return result
        })
      ))

    /**
     * Cancels a job. The journal is updated before the request is sent: after a crash in between it shows that this
     * program canceled the job.
     */
    const cancel = (job: JobRef): Effect.Effect<CancelResult, QueueError.QueueError> =>
      journal === undefined ? queue.cancel(job) : cancelNoted(journal, job)

    /** Returns whether a canceled job was canceled by this program. Its key is free then. */
    const wasCanceledByUs = (job: JobRef): Effect.Effect<boolean, QueueError.JournalError> =>
      journal === undefined
        ? Effect.succeed(false)
        : journal.withLock(key)(Effect.gen(function*() {
          const known = yield* entryOf(journal, key, job)
          if (known?._tag === "Canceling") yield* journal.remove(key)
          return known?._tag !== "Submitted"
        }))

    return { key, submit, acquire, cancel, wasCanceledByUs }
  })
