/**
 * The history of a job, told from samples of it.
 *
 * Polling sees a job now and then; what happened in between it does not see. `derive` takes what was known (a cursor, or
 * nothing) and a fresh snapshot, and gives the shortest legal path from the one to the other, from the retries and the
 * times that the service tells. A job that was claimed, lost, claimed again and finished between two polls is told as
 * just that.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import type * as DateTime from "effect/DateTime"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import { checksum, infoPrint, isInfoPrint, jobPrint, printInfo, sameJson } from "./internal/fingerprint.js"
import * as Job from "./Job.js"
import { InvalidCursor, JobMismatch, UnrecognizedStatus } from "./QueueError.js"

/**
 * How often the service puts a job back into the queue when its worker is lost. The next lost claim fails it.
 *
 * @since 0.1.0
 * @category constants
 */
export const maxRetries = 3

// -----------------------------------------------------------------------------
// cursors
// -----------------------------------------------------------------------------

/**
 * What is known of a job, in a few letters: enough to go on from there in another process, on another day, without a
 * log and without a store. It names its job, though not in the clear; it is not signed.
 *
 * Cursors compare by value. `formatCursor` and `parseCursor` turn one into a text for a URL, a header or the `id:` of a
 * server-sent event, and back; `CursorFromString` is the same as a schema.
 *
 * - `job`: a fingerprint of the job's reference.
 * - `phase`: where the job is in its life; `retries`: how often it went back to the queue.
 * - `at`: the latest of the server's times that was told. `claimedAt`: when the current claim was made. Both in
 *   milliseconds since the epoch, `undefined` where the server did not say.
 * - `info`: a fingerprint of the `info` that was last told, `undefined` while nothing is known of it.
 *
 * @since 0.1.0
 * @category cursors
 */
export class Cursor extends Data.Class<{
  readonly job: string
  readonly phase: "Queued" | "Running" | "Ended"
  readonly retries: number
  readonly at: number | undefined
  readonly claimedAt: number | undefined
  readonly info: string | undefined
}> {
  // Not part of the value: where the objects themselves are at hand, no fingerprint needs to be made.
  #ref: Job.JobRef | undefined
  #seen: Job.JsonObject | undefined

  /** @internal */
  static from(
    fields: Pick<Cursor, "job" | "phase" | "retries" | "at" | "claimedAt" | "info">,
    ref: Job.JobRef,
    seen: Job.JsonObject | undefined
  ): Cursor {
    const cursor = new Cursor(fields)
    cursor.#ref = ref
    cursor.#seen = seen
    return cursor
  }

  /** @internal */
  static isOf(cursor: Cursor, ref: Job.JobRef): boolean {
    if (cursor.#ref === undefined) {
      if (cursor.job !== jobPrint(ref)) return false
      cursor.#ref = ref
    }
    return cursor.#ref.requestId === ref.requestId && cursor.#ref.model === ref.model
  }

  /** @internal */
  static knowsInfo(cursor: Cursor, info: Job.JsonObject): boolean {
    if (cursor.info === undefined) return false
    if (cursor.#seen !== undefined && sameJson(cursor.#seen, info)) return true
    if (cursor.info !== infoPrint(info)) return false
    cursor.#seen = info
    return true
  }
}

const version = "1"

const letters = { Queued: "q", Running: "r", Ended: "e" } as const

const phases = { q: "Queued", r: "Running", e: "Ended" } as const

const formatTime = (millis: number | undefined): string => millis === undefined ? "" : millis.toString(36)

const parseTime = (text: string): number | undefined => text === "" ? undefined : Number.parseInt(text, 36)

// What a `Date` can hold.
const farthest = 8_640_000_000_000_000

// Only what `formatTime` writes: `-` is no number, `-0` is not the number that it looks like, and of one that is too long
// the last digits are lost.
const isTime = (text: string): boolean => {
  const millis = Number.parseInt(text, 36)
  return text === "" || (Math.abs(millis) <= farthest && formatTime(millis) === text)
}

const cursorText =
  /^1([0-9a-z]{14})([qre])(\d{1,3})\.(-?[0-9a-z]*)\.(-?[0-9a-z]*)\.(~?[A-Za-z0-9_-]*|\*)\.([0-9a-z]{7})$/

/**
 * A cursor as a text of letters, digits and `-_.~*`, under 200 of them.
 *
 * @since 0.1.0
 * @category cursors
 */
export const formatCursor = (cursor: Cursor): string => {
  const body = `${version}${cursor.job}${letters[cursor.phase]}${cursor.retries}.${formatTime(cursor.at)}.${
    formatTime(cursor.claimedAt)
  }.${cursor.info ?? "*"}.`
  return body + checksum(body)
}

/**
 * The cursor that a text stands for. Fails where the text was cut short, or changed, or is of another version.
 *
 * @since 0.1.0
 * @category cursors
 */
export const parseCursor = (text: string): Either.Either<Cursor, InvalidCursor> => {
  const fail = (issue: string) => Either.left(new InvalidCursor({ text: text.slice(0, 300), issue }))
  const match = cursorText.exec(text)
  if (match === null) {
    return fail(/^[02-9]/.test(text) ? "written by another version of this library" : "it has another form")
  }
  const [, job = "", letter = "q", retries = "0", at = "", claimedAt = "", info = "", sum = ""] = match
  if (checksum(text.slice(0, -sum.length)) !== sum) return fail("it was cut short or changed")
  if (!isTime(at) || !isTime(claimedAt)) return fail("it has a time that there is not")
  if (info !== "*" && !isInfoPrint(info)) return fail("it has another form")
  return Either.right(
    new Cursor({
      job,
      // the pattern lets no other letter through
      phase: phases[letter as keyof typeof phases],
      retries: Number(retries),
      at: parseTime(at),
      claimedAt: parseTime(claimedAt),
      info: info === "*" ? undefined : info
    })
  )
}

/**
 * A cursor and the text that stands for it.
 *
 * @since 0.1.0
 * @category cursors
 */
export const CursorFromString: Schema.Schema<Cursor, string> = Schema.transformOrFail(
  Schema.String,
  Schema.instanceOf(Cursor),
  {
    strict: true,
    decode: (text, _, ast) =>
      Either.mapLeft(parseCursor(text), (error) => new ParseResult.Type(ast, text, error.message)),
    encode: (cursor) => ParseResult.succeed(formatCursor(cursor))
  }
).annotations({ identifier: "Cursor" })

// -----------------------------------------------------------------------------
// transitions
// -----------------------------------------------------------------------------

const fields = {
  job: Job.JobRef,
  attempt: Schema.NonNegativeInt,
  at: Schema.optionalWith(Schema.DateTimeUtc, { as: "Option" }),
  observedAt: Schema.DateTimeUtc,
  evidence: Schema.Literal("observed", "inferred"),
  snapshot: Job.JobStatus,
  cursor: CursorFromString
}

const QueuedSchema = Schema.TaggedStruct("Queued", fields)
const ClaimedSchema = Schema.TaggedStruct("Claimed", fields)
const ProgressedSchema = Schema.TaggedStruct("Progressed", {
  ...fields,
  progress: Schema.optionalWith(Schema.Number, { as: "Option" }),
  changed: Job.JsonObject
})
const RequeuedSchema = Schema.TaggedStruct("Requeued", { ...fields, retriesLeft: Schema.NonNegativeInt })
const CompletedSchema = Schema.TaggedStruct("Completed", { ...fields, outputs: Job.JsonObject })
const FailedByModelSchema = Schema.TaggedStruct("FailedByModel", {
  ...fields,
  reason: Schema.optionalWith(Schema.String, { as: "Option" })
})
const RetriesExhaustedSchema = Schema.TaggedStruct("RetriesExhausted", fields)
const CanceledSchema = Schema.TaggedStruct("Canceled", fields)
const UnrecognizedSchema = Schema.TaggedStruct("Unrecognized", { ...fields, status: Schema.String })

/**
 * What every transition tells.
 *
 * - `attempt`: 0 while no worker has had the job, then the number of the last claim.
 * - `at`: when it happened, by the server's clock, if the server told; never a guess.
 * - `observedAt`: when the snapshot was taken, by ours.
 * - `evidence`: `observed` when the snapshot shows the very state that the transition leads to; `inferred` when the job
 *   must have gone that way to be where it is.
 * - `snapshot`: what it was derived from.
 * - `cursor`: what is known after it. Whoever has this goes on with the very next transition.
 *
 * @since 0.1.0
 * @category models
 */
export interface Common {
  readonly job: Job.JobRef
  readonly attempt: number
  readonly at: Option.Option<DateTime.Utc>
  readonly observedAt: DateTime.Utc
  readonly evidence: "observed" | "inferred"
  readonly snapshot: Job.JobStatus
  readonly cursor: Cursor
}

/**
 * The job was submitted. The first transition of every job.
 *
 * @since 0.1.0
 * @category models
 */
export interface Queued extends Common {
  readonly _tag: "Queued"
}

/**
 * A worker took the job: its attempt number `attempt` began.
 *
 * @since 0.1.0
 * @category models
 */
export interface Claimed extends Common {
  readonly _tag: "Claimed"
}

/**
 * The running job's `info` changed. `changed` has the entries that are new or other than before (all of them, when
 * `info` has more than 32); `progress` is what the progress rule reads from the whole.
 *
 * @since 0.1.0
 * @category models
 */
export interface Progressed extends Common {
  readonly _tag: "Progressed"
  readonly progress: Option.Option<number>
  readonly changed: Job.JsonObject
}

/**
 * The worker of attempt `attempt` was lost, and the job went back to the queue. `retriesLeft` is how often that may
 * happen again.
 *
 * @since 0.1.0
 * @category models
 */
export interface Requeued extends Common {
  readonly _tag: "Requeued"
  readonly retriesLeft: number
}

/**
 * The job is done. The last transition of a job.
 *
 * @since 0.1.0
 * @category models
 */
export interface Completed extends Common {
  readonly _tag: "Completed"
  readonly outputs: Job.JsonObject
}

/**
 * The model failed the job. The last transition of a job.
 *
 * @since 0.1.0
 * @category models
 */
export interface FailedByModel extends Common {
  readonly _tag: "FailedByModel"
  readonly reason: Option.Option<string>
}

/**
 * The worker of the last attempt was lost too, and the service gave up. The last transition of a job.
 *
 * @since 0.1.0
 * @category models
 */
export interface RetriesExhausted extends Common {
  readonly _tag: "RetriesExhausted"
}

/**
 * The job was canceled while it was pending. The last transition of a job.
 *
 * @since 0.1.0
 * @category models
 */
export interface Canceled extends Common {
  readonly _tag: "Canceled"
}

/**
 * The job came into a state that this version of the library does not know, and whoever watches it has chosen to take
 * that for its end (`unrecognized: "end"`). Then, and only then, the last transition of a job.
 *
 * @since 0.1.0
 * @category models
 */
export interface Unrecognized extends Common {
  readonly _tag: "Unrecognized"
  readonly status: string
}

/**
 * A step in the life of a job.
 *
 * @since 0.1.0
 * @category models
 */
export type Transition =
  | Queued
  | Claimed
  | Progressed
  | Requeued
  | Completed
  | FailedByModel
  | RetriesExhausted
  | Canceled
  | Unrecognized

/**
 * Transitions as they travel, over server-sent events, RPC or storage.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Transition = Schema.Union(
  QueuedSchema,
  ClaimedSchema,
  ProgressedSchema,
  RequeuedSchema,
  CompletedSchema,
  FailedByModelSchema,
  RetriesExhaustedSchema,
  CanceledSchema,
  UnrecognizedSchema
)

/**
 * A transition after which no other comes.
 *
 * @since 0.1.0
 * @category models
 */
export type Terminal = Completed | FailedByModel | RetriesExhausted | Canceled | Unrecognized

/**
 * @since 0.1.0
 * @category guards
 */
export const isTerminal = (transition: Transition): transition is Terminal =>
  transition._tag === "Completed" || transition._tag === "FailedByModel" ||
  transition._tag === "RetriesExhausted" || transition._tag === "Canceled" || transition._tag === "Unrecognized"

// -----------------------------------------------------------------------------
// derive
// -----------------------------------------------------------------------------

/**
 * What a snapshot adds to what was known: the transitions, oldest first, and what is known now. `stale` says that the
 * snapshot is older than what was known, and therefore adds nothing.
 *
 * @since 0.1.0
 * @category models
 */
export interface Derivation {
  readonly transitions: ReadonlyArray<Transition>
  readonly cursor: Cursor
  readonly stale: boolean
}

/**
 * - `observedAt`: when the snapshot was taken.
 * - `readProgress`: how progress is read from `info`, `Job.readProgress` unless given.
 * - `unrecognized`: whether a state that is not known is an error (`fail`, unless given) or the `end` of the job.
 *
 * @since 0.1.0
 * @category models
 */
export interface DeriveOptions {
  readonly observedAt: DateTime.Utc
  readonly readProgress?: Job.ReadProgress | undefined
  readonly unrecognized?: "fail" | "end" | undefined
}

const none: ReadonlyArray<never> = []

// A service that says it has retried a job a billion times is not believed: nobody needs a path of that length.
const mostRetries = 100

type Phase = Cursor["phase"]

const phaseOf = (status: Job.JobStatus): Phase =>
  status._tag === "Pending" ? "Queued" : status._tag === "Running" ? "Running" : "Ended"

const rank = { Queued: 0, Running: 1, Ended: 2 } as const

const millis = (time: Option.Option<DateTime.Utc>): number | undefined =>
  Option.isSome(time) ? time.value.epochMillis : undefined

/**
 * The transitions that lead from what was known to what a snapshot shows.
 *
 * - Without a cursor the path begins with `Queued`.
 * - States that were skipped are filled in: from pending to done it is `Claimed`, `Completed`; from pending to running
 *   with two more retries it is `Claimed`, `Requeued`, `Claimed`, `Requeued`, `Claimed`.
 * - Without `retries` in the snapshot, running to pending counts as one; so does a claim that is later than the one that
 *   was known.
 * - A snapshot that is older than what was known yields nothing (`stale`), and after a terminal transition nothing
 *   comes. A terminal snapshot is never old.
 * - A failed job that has used up its retries, and of which nobody says why it failed, was given up by the service; any
 *   other failure is the model's.
 * - Times are the server's. Where it told none, or one before a time that it had told already, `at` is `None`.
 *
 * It fails for a snapshot of another job, and, unless asked otherwise, for one in a state that is not known.
 *
 * @example
 * import { Job, Transition } from "effect-queue-status"
 * import { DateTime, Effect, Option } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const observedAt = yield* DateTime.now
 *   const job = Job.ref("my-org/video-generator", "019ba379-92da-71e4-ac40-d98059fd67c7")
 *   const first = yield* Transition.derive(Option.none(), Job.Pending({ job }), { observedAt })
 *   const second = yield* Transition.derive(Option.some(first.cursor), Job.Done({ job }), { observedAt })
 *   return second.transitions.map((transition) => transition._tag) // ["Claimed", "Completed"]
 * })
 *
 * @since 0.1.0
 * @category derivation
 */
export const derive = (
  known: Option.Option<Cursor>,
  status: Job.JobStatus,
  options: DeriveOptions
): Either.Either<Derivation, JobMismatch | UnrecognizedStatus> => {
  const before = Option.getOrUndefined(known)
  if (before !== undefined && !Cursor.isOf(before, status.job)) {
    return Either.left(new JobMismatch({ job: status.job }))
  }
  if (status._tag === "Unrecognized" && options.unrecognized !== "end") {
    return Either.left(new UnrecognizedStatus({ job: status.job, status: status.status, snapshot: status }))
  }
  const retries = retriesOf(before, status)
  if (before !== undefined) {
    const stale = isStale(before, status, retries)
    if (stale || isSame(before, status, retries)) {
      return Either.right({ transitions: none, cursor: before, stale })
    }
  }
  return Either.right(path(before, status, retries, options))
}

// How often the job has been put back into the queue, by this snapshot.
const retriesOf = (before: Cursor | undefined, status: Job.JobStatus): number => {
  const told = Option.isSome(status.retries) ? Math.min(status.retries.value, mostRetries) : undefined
  if (before === undefined) return told ?? 0
  // it runs, as far as was known: only by way of the queue does it get where this snapshot shows it
  const left = before.phase === "Running" && status._tag === "Canceled" ? 1 : 0
  // a terminal snapshot is never old, whatever it says
  if (told !== undefined) return Job.isTerminal(status) ? Math.max(told, before.retries + left) : told
  if (before.phase !== "Running" || before.retries >= mostRetries) return before.retries + left
  const claimedAt = millis(status.claimedAt)
  const claimedAgain = claimedAt !== undefined && before.claimedAt !== undefined && claimedAt > before.claimedAt
  return before.retries + (status._tag === "Pending" || claimedAgain ? 1 : left)
}

const isStale = (before: Cursor, status: Job.JobStatus, retries: number): boolean => {
  if (Job.isTerminal(status)) return false
  if (before.phase === "Ended") return phaseOf(status) !== "Ended"
  if (retries < before.retries) return true
  if (retries > before.retries) return false
  if (rank[phaseOf(status)] < rank[before.phase]) return true
  const claimedAt = millis(status.claimedAt)
  return status._tag === "Running" && before.phase === "Running" && claimedAt !== undefined &&
    before.claimedAt !== undefined && claimedAt < before.claimedAt
}

const isSame = (before: Cursor, status: Job.JobStatus, retries: number): boolean =>
  before.phase === "Ended" || (
    before.phase === phaseOf(status) && before.retries === retries &&
    (status._tag !== "Running" || Cursor.knowsInfo(before, status.info))
  )

const path = (
  before: Cursor | undefined,
  status: Job.JobStatus,
  retries: number,
  options: DeriveOptions
): Derivation => {
  const { job } = status
  const name = before?.job ?? jobPrint(job)
  const transitions: Array<Transition> = []
  let cursor = before
  // what is known of `info` before this snapshot: of a job first seen in the queue, what its submitter put there
  let info = before === undefined ? (status._tag === "Pending" ? infoPrint(status.info) : undefined) : before.info
  let seen: Job.JsonObject | undefined = before === undefined && status._tag === "Pending" ? status.info : undefined

  const step = (
    phase: Phase,
    retriesNow: number,
    attempt: number,
    time: Option.Option<DateTime.Utc>,
    last: boolean
  ): Common => {
    const told = millis(time)
    const backwards = told !== undefined && cursor?.at !== undefined && told < cursor.at
    const at = backwards ? Option.none<DateTime.Utc>() : time
    cursor = Cursor.from(
      {
        job: name,
        phase,
        retries: retriesNow,
        at: millis(at) ?? cursor?.at,
        claimedAt: phase !== "Running" ? undefined : cursor?.phase === "Running" ? cursor.claimedAt : told,
        info
      },
      job,
      seen
    )
    return {
      job,
      attempt,
      at,
      observedAt: options.observedAt,
      evidence: last ? "observed" : "inferred",
      snapshot: status,
      cursor
    }
  }

  const target = phaseOf(status)
  const progress = (options.readProgress ?? Job.readProgress)(status.info)

  if (cursor === undefined) {
    transitions.push({
      _tag: "Queued",
      ...step("Queued", 0, 0, status.createdAt, target === "Queued" && retries === 0)
    })
  }
  // `step` has set it where it was not
  const at = () => cursor as Cursor
  const claim = (attempt: number, last: boolean) => {
    // `claimed_at` is that of the last claim that there was
    const isLast = attempt === (target === "Queued" || status._tag === "Canceled" ? retries : retries + 1)
    transitions.push({
      _tag: "Claimed",
      ...step("Running", at().retries, attempt, isLast ? status.claimedAt : Option.none(), last)
    })
  }
  while (at().retries < retries) {
    const attempt = at().retries + 1
    if (at().phase === "Queued") claim(attempt, false)
    transitions.push({
      _tag: "Requeued",
      ...step("Queued", attempt, attempt, Option.none(), target === "Queued" && attempt === retries),
      retriesLeft: Math.max(0, maxRetries - attempt)
    })
  }
  if (status._tag === "Canceled") {
    transitions.push({ _tag: "Canceled", ...step("Ended", retries, retries, status.doneAt, true) })
  } else if (status._tag === "Unrecognized") {
    // which way a job gets into such a state nobody knows: straight from where it was
    const attempt = at().phase === "Running" ? retries + 1 : retries
    transitions.push({
      _tag: "Unrecognized",
      ...step("Ended", retries, attempt, status.doneAt, true),
      status: status.status
    })
  } else if (target !== "Queued" && at().phase === "Queued") {
    // a job first seen while it runs, and of whose progress nothing can be read: all that is in `info` is taken as known
    if (target === "Running" && info === undefined && Option.isNone(progress)) {
      info = infoPrint(status.info)
      seen = status.info
    }
    claim(retries + 1, target === "Running")
  }
  if (target === "Running") {
    const { changed, print } = printInfo(info, status.info)
    if (info === undefined || Object.keys(changed).length > 0) {
      info = print
      seen = status.info
      transitions.push({
        _tag: "Progressed",
        ...step("Running", retries, retries + 1, Option.none(), true),
        progress,
        changed
      })
    }
  } else if (status._tag === "Done" || status._tag === "Failed") {
    const end = step("Ended", retries, retries + 1, status.doneAt, true)
    const reason = Job.failureReason(status)
    transitions.push(
      status._tag === "Done"
        ? { _tag: "Completed", ...end, outputs: status.outputs }
        : retries >= maxRetries && Option.isNone(reason)
        ? { _tag: "RetriesExhausted", ...end }
        : { _tag: "FailedByModel", ...end, reason }
    )
  }
  return { transitions, cursor: at(), stale: false }
}
