/**
 * A submit that makes one job at most, and the end of whoever waits for it.
 *
 * @internal
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import type { JobRef } from "../Job.js"
import { JobQueue } from "../JobQueue.js"
import type { Service as Queue, SubmitRequest } from "../JobQueue.js"
import type { SubmitError, SubmitOptions } from "../JobRun.js"
import * as QueueError from "../QueueError.js"
import type { Retry } from "../Retry.js"
import { type Entry, type JournalError, type Service as Journal, SubmitJournal } from "../SubmitJournal.js"
import * as WatchPolicy from "../WatchPolicy.js"
import { checkSubmit, invalidSubmit } from "./checkRequest.js"
import { jsonPrint } from "./fingerprint.js"
import * as Pacer from "./pacer.js"
import { uuidv7 } from "./uuid.js"

/**
 * What others know of a submit that is under way, and may ask of it.
 *
 * @internal
 */
export interface Sending {
  readonly key: string
  /** The request is on its way, or nobody knows what became of it. */
  mayHaveArrived: boolean
  /** Nobody waits any more: what is on its way may be answered, but nothing is sent again. */
  isLast: boolean
}

/**
 * Where the key of a submit is, in the `info` of its job.
 *
 * @internal
 */
export const keyField = "client_key"

const newKey: Effect.Effect<string> = Effect.flatMap(
  Clock.currentTimeMillis,
  (now) => Effect.randomWith((random) => uuidv7(now, random))
)

/** @internal */
export const start = ({ key }: SubmitOptions): Effect.Effect<Sending> =>
  Effect.map(
    key === undefined ? newKey : Effect.succeed(key),
    (key) => ({ key, mayHaveArrived: false, isLast: false })
  )

// What is wrong with the request itself, `checkSubmit` finds.
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

/** Sends until it has arrived; what may have arrived is not sent again. */
const send = (
  queue: Queue,
  request: SubmitRequest,
  retry: Retry,
  sending: Sending
): Effect.Effect<JobRef, QueueError.QueueError | QueueError.SubmitUncertain> =>
  Effect.gen(function*() {
    const pacer = yield* Pacer.make(retry)
    for (;;) {
      const at = yield* DateTime.now
      sending.mayHaveArrived = true
      const answer = yield* Effect.either(queue.submit(request))
      if (Either.isRight(answer)) return answer.right
      const error = answer.left
      if (QueueError.mayHaveArrived(error)) {
        return yield* new QueueError.SubmitUncertain({ model: request.model, key: sending.key, at, error })
      }
      sending.mayHaveArrived = false
      if (sending.isLast || !QueueError.isTransient(error)) return yield* error
      const pause = yield* pacer.next(error)
      if (Option.isNone(pause)) return yield* error
      yield* Effect.sleep(Pacer.retryPause(pause.value, error))
    }
  })

const orWarn = (effect: Effect.Effect<void, JournalError>, what: string): Effect.Effect<void> =>
  Effect.catchAll(effect, (error) => Effect.logWarning(what, error))

/** Sends what the journal knows nothing of, and notes what came of it. */
const noted = (
  journal: Journal,
  request: SubmitRequest,
  sending: Sending,
  sent: Effect.Effect<JobRef, QueueError.QueueError | QueueError.SubmitUncertain>
): Effect.Effect<JobRef, SubmitError> => {
  const { key } = sending
  return journal.oneAtATime(key)(Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      const print = jsonPrint(request)
      const known = yield* restore(journal.get(key))
      if (Option.isSome(known)) {
        const { at, model } = known.value
        if (known.value.request !== print) {
          return yield* invalidSubmit(request, `key: ${key} was used for another request (${DateTime.formatIso(at)})`)
        }
        if (known.value._tag === "Made") return known.value.job
        return yield* new QueueError.SubmitUncertain({ model, key, at })
      }
      const entry: Entry = { _tag: "Sent", request: print, model: request.model, at: yield* DateTime.now }
      const exit = yield* Effect.exit(restore(Effect.zipRight(journal.set(key, entry), sent)))
      if (Exit.isSuccess(exit)) {
        // if this is not noted, the next submit with this key says that it can't tell; there is a job, and here it is
        yield* orWarn(journal.set(key, { ...entry, _tag: "Made", job: exit.value }), "a job that is not in the journal")
      } else if (!sending.mayHaveArrived) {
        yield* orWarn(journal.remove(key), "a submit that was not sent, and the journal says that it was")
      }
      return yield* exit
    })
  ))
}

/** @internal */
export const submit = (
  input: SubmitRequest,
  options: SubmitOptions,
  sending: Sending
): Effect.Effect<JobRef, SubmitError, JobQueue> =>
  Effect.gen(function*() {
    const queue = yield* JobQueue
    const request = yield* Effect.flatMap(withKey(input, sending.key), checkSubmit)
    const retry = options.retry ?? (yield* WatchPolicy.Default).retry
    const sent = send(queue, request, retry, sending)
    // a key that nobody else knows is of no use to whoever comes after us
    const journal = options.key === undefined ? Option.none() : yield* Effect.serviceOption(SubmitJournal)
    return yield* Option.isNone(journal) ? sent : noted(journal.value, request, sending, sent)
  })
