/**
 * The history of a job, derived from snapshots.
 *
 * Polls miss what happens between them. `derive` takes a cursor (or none) and a new snapshot, and returns the shortest
 * legal path from one to the other, using the retries and the times that the service reports. It infers only what the
 * snapshots prove: a snapshot from a lagging replica never adds a step that did not happen.
 *
 * @since 0.1.0
 */
import * as Arbitrary from "effect/Arbitrary"
import * as Data from "effect/Data"
import * as DateTime from "effect/DateTime"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import * as CursorText from "./internal/cursorText.js"
import { infoPrint, jobPrint, printInfo, sameJson } from "./internal/fingerprint.js"
import { isSameJob } from "./internal/jobKey.js"
import { maxRetries } from "./internal/limits.js"
import * as Position from "./internal/position.js"
import { TimeText } from "./internal/timestamp.js"
import * as Job from "./Job.js"
import { InvalidCursor, JobMismatch, UnrecognizedStatus } from "./QueueError.js"

// -----------------------------------------------------------------------------
// cursors
// -----------------------------------------------------------------------------

/**
 * The position of a watch in the history of a job, as a short value: another process can continue from it later,
 * without a log or a store. It identifies its job, though only by a hash; it is not signed.
 *
 * Cursors compare by value. `formatCursor` and `parseCursor` convert one to a text for a URL, a header or the `id:` of
 * a server-sent event, and back; `CursorFromString` is the same as a schema.
 *
 * @since 0.1.0
 * @category cursors
 */
export class Cursor extends Data.Class<Position.Known> {
  // Not part of the value: with the objects at hand, no hash needs to be computed.
  #ref: Job.JobRef | undefined
  #seen: Job.JsonObject | undefined

  /** @internal */
  static from(fields: Position.Known, ref: Job.JobRef | undefined, seen: Job.JsonObject | undefined): Cursor {
    const cursor = new Cursor(fields)
    cursor.#ref = ref
    cursor.#seen = seen
    return cursor
  }

  /** Returns whether two cursors of a job are equal, as far as that is known without a hash. @internal */
  static isSame(a: Cursor, b: Cursor): boolean {
    return a === b ||
      (a.phase === b.phase && a.retries === b.retries && a.at === b.at && a.claimedAt === b.claimedAt &&
        a.job === b.job && a.#seen !== undefined && a.#seen === b.#seen)
  }

  /** @internal */
  static withClaimedAt(cursor: Cursor, claimedAt: number | undefined): Cursor {
    return Cursor.from({ ...cursor, claimedAt }, cursor.#ref, cursor.#seen)
  }

  /** @internal */
  static isOf(cursor: Cursor, ref: Job.JobRef): boolean {
    if (cursor.#ref === undefined) {
      if (cursor.job !== jobPrint(ref)) return false
      cursor.#ref = ref
    }
    return isSameJob(cursor.#ref, ref)
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

/**
 * Formats a cursor as a text of letters, digits and `-_.~*`, under 200 characters.
 *
 * @since 0.1.0
 * @category cursors
 */
export const formatCursor = (cursor: Cursor): string => CursorText.format(cursor)

/**
 * Parses a cursor. Fails with `InvalidCursor` if the text was cut short or changed, is of another version, or is not
 * exactly what `formatCursor` writes for that cursor.
 *
 * @since 0.1.0
 * @category cursors
 */
export const parseCursor = (text: string): Either.Either<Cursor, InvalidCursor> =>
  Either.mapBoth(CursorText.parse(text), {
    onLeft: (issue) => new InvalidCursor({ text: text.slice(0, 300), issue }),
    onRight: (fields) => new Cursor(fields)
  })

/**
 * The schema of a cursor, encoded as a text.
 *
 * @since 0.1.0
 * @category cursors
 */
export const CursorFromString: Schema.Schema<Cursor, string> = Schema.transformOrFail(
  Schema.String,
  Schema.instanceOf(Cursor, {
    arbitrary: () => (fc) =>
      Arbitrary.makeLazy(Job.JobStatus)(fc).map((status) =>
        Either.getOrThrow(derive(Option.none(), status, { observedAt: DateTime.unsafeMake(0), unrecognized: "end" }))
          .cursor
      )
  }),
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

/**
 * The fields of every transition.
 */
interface Step {
  /** The reference of the job. */
  readonly job: Job.JobRef
  /**
   * The number of the last claim, 0 before the first one, as far as it is known: never too high, and exact if the
   * snapshot reports `retries`.
   */
  readonly attempt: number
  /** When the transition happened, by the server's clock, if reported. It is never estimated. */
  readonly at: Option.Option<DateTime.Utc>
  /** When the snapshot was taken, by our clock. */
  readonly observedAt: DateTime.Utc
  /**
   * `observed` if the snapshot shows the state that the transition leads to; `inferred` if the job must have passed
   * through it.
   */
  readonly evidence: "observed" | "inferred"
  /** The snapshot from which the transition was derived. */
  readonly snapshot: Job.JobStatus
  /** The cursor after the transition. A watch that starts from it continues with the next transition. */
  readonly cursor: Cursor
}

interface TransitionBase<Tag extends string> extends Step {
  readonly _tag: Tag
}

/**
 * The job was submitted. The first transition of every job.
 *
 * @since 0.1.0
 * @category models
 */
export interface Queued extends TransitionBase<"Queued"> {}

/**
 * A worker claimed the job and began attempt number `attempt`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Claimed extends TransitionBase<"Claimed"> {}

/**
 * The `info` of the running job changed.
 *
 * @since 0.1.0
 * @category models
 */
export interface Progressed extends TransitionBase<"Progressed"> {
  /** The result of the progress rule for the whole `info`, as a fraction from 0 to 1. */
  readonly progress: Option.Option<number>
  /** The entries of `info` that are new or have changed; all of them if `info` has more than 32. */
  readonly changed: Job.JsonObject
}

/**
 * The worker of attempt `attempt` was lost, and the job went back to the queue.
 *
 * @since 0.1.0
 * @category models
 */
export interface Requeued extends TransitionBase<"Requeued"> {
  /** How many more times the job may go back to the queue. */
  readonly retriesLeft: number
}

/**
 * The job is done. The last transition of a job.
 *
 * @since 0.1.0
 * @category models
 */
export interface Completed extends TransitionBase<"Completed"> {
  /** The outputs of the model. */
  readonly outputs: Job.JsonObject
}

/**
 * The model failed the job. The last transition of a job.
 *
 * @since 0.1.0
 * @category models
 */
export interface FailedByModel extends TransitionBase<"FailedByModel"> {
  /** Why the job failed, if its snapshot has a reason. */
  readonly reason: Option.Option<string>
}

/**
 * The worker of the last attempt was lost too, and the service does not retry. The last transition of a job.
 *
 * @since 0.1.0
 * @category models
 */
export interface RetriesExhausted extends TransitionBase<"RetriesExhausted"> {}

/**
 * The job was canceled while it was pending. The last transition of a job.
 *
 * @since 0.1.0
 * @category models
 */
export interface Canceled extends TransitionBase<"Canceled"> {}

/**
 * The job entered a state that this version of the library does not know, and the watch treats it as the end
 * (`unrecognized: "end"`). Only then the last transition of a job.
 *
 * @since 0.1.0
 * @category models
 */
export interface Unrecognized extends TransitionBase<"Unrecognized"> {
  /** The state, exactly as the service reported it. */
  readonly status: string
}

/**
 * A step in the history of a job.
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

const fields = {
  job: Job.JobRef,
  attempt: Schema.NonNegativeInt,
  at: Schema.optionalWith(TimeText, { as: "Option" }),
  observedAt: TimeText,
  evidence: Schema.Literal("observed", "inferred"),
  snapshot: Job.JobStatus,
  cursor: CursorFromString
}

/**
 * The schema of a transition, for server-sent events, RPC or storage.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Transition = Schema.Union(
  Schema.TaggedStruct("Queued", fields),
  Schema.TaggedStruct("Claimed", fields),
  Schema.TaggedStruct("Progressed", {
    ...fields,
    progress: Schema.optionalWith(Schema.Number, { as: "Option" }),
    changed: Job.JsonObject
  }),
  Schema.TaggedStruct("Requeued", { ...fields, retriesLeft: Schema.NonNegativeInt }),
  Schema.TaggedStruct("Completed", { ...fields, outputs: Job.JsonObject }),
  Schema.TaggedStruct("FailedByModel", { ...fields, reason: Schema.optionalWith(Schema.String, { as: "Option" }) }),
  Schema.TaggedStruct("RetriesExhausted", fields),
  Schema.TaggedStruct("Canceled", fields),
  Schema.TaggedStruct("Unrecognized", { ...fields, status: Schema.String })
)

/**
 * The last transition of a job.
 *
 * @since 0.1.0
 * @category models
 */
export type Terminal = Completed | FailedByModel | RetriesExhausted | Canceled | Unrecognized

/**
 * Returns whether a transition is the last one of a job.
 *
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
 * The result of `derive`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Derivation {
  /** The transitions that the snapshot adds, oldest first. */
  readonly transitions: ReadonlyArray<Transition>
  /** The new cursor. Without transitions it is the previous one, except that it may have gained a `claimedAt`. */
  readonly cursor: Cursor
  /**
   * Whether the snapshot adds nothing because it is older than the cursor, or can't be distinguished from one that is.
   */
  readonly stale: boolean
}

/**
 * The options of `derive`.
 *
 * @since 0.1.0
 * @category models
 */
export interface DeriveOptions {
  /** When the snapshot was taken. */
  readonly observedAt: DateTime.Utc
  /** Reads progress from `info`. Defaults to `Job.readProgress`. */
  readonly readProgress?: ((info: Job.JsonObject) => Option.Option<number>) | undefined
  /** Reads the reason from a failed job. Defaults to `Job.failureReason`. */
  readonly readReason?: ((status: Job.Failed) => Option.Option<string>) | undefined
  /** Whether an unknown state is an error (`fail`, the default) or the `end` of the job. */
  readonly unrecognized?: "fail" | "end" | undefined
}

/**
 * Returns the transitions that lead from a cursor to a snapshot.
 *
 * - Without a cursor the path begins with `Queued`.
 * - Skipped states are filled in: from pending to done it is `Claimed`, `Completed`; from pending to running with two
 *   more retries it is `Claimed`, `Requeued`, `Claimed`, `Requeued`, `Claimed`.
 * - If the snapshot has no `retries`, `claimed_at` is used: there was one more retry if it is later than the known
 *   claim, or if a pending job still has the known one. Otherwise the number of retries is the least possible; so a
 *   pending snapshot after a running one is stale.
 * - A snapshot that is not provably newer than the cursor adds nothing (`stale`), and nothing follows a terminal
 *   transition. A terminal snapshot is never stale.
 * - A failed job without a reason and with no retries left ran out of retries; any other failure is the model's.
 * - Times are the server's. If it reported none, or one before a known time, `at` is `None`.
 *
 * Fails with `JobMismatch` if the snapshot is of another job, and with `UnrecognizedStatus` if its state is unknown and
 * `unrecognized` is not `end`.
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
  if (before?.phase === "Ended") return Either.right(unchanged(before, Position.phaseOf(status) !== "Ended"))
  const retries = Position.retriesOf(before, status)
  if (before !== undefined) {
    if (Position.isStale(before, status, retries)) return Either.right(unchanged(before, true))
    if (isSame(before, status, retries)) return Either.right(unchanged(withClaimedAt(before, status), false))
  }
  return Either.right(path(before, status, retries, options))
}

const none: ReadonlyArray<never> = []

const unchanged = (cursor: Cursor, stale: boolean): Derivation => ({ transitions: none, cursor, stale })

// Most polls show nothing new: they must not allocate.
const isSame = (before: Cursor, status: Job.JobStatus, retries: number): boolean =>
  before.phase === Position.phaseOf(status) && before.retries === retries &&
  (status._tag !== "Running" || Cursor.knowsInfo(before, status.info))

// An earlier snapshot of the same attempt may have lacked `claimed_at`.
const withClaimedAt = (before: Cursor, status: Job.JobStatus): Cursor => {
  const claimedAt = Position.later(before.claimedAt, Position.millis(status.claimedAt))
  return claimedAt === before.claimedAt ? before : Cursor.withClaimedAt(before, claimedAt)
}

/** Returns the path from a cursor to a snapshot. Without a transition, they match. */
const path = (
  before: Cursor | undefined,
  status: Job.JobStatus,
  retries: number,
  options: DeriveOptions
): Derivation => {
  const { job } = status
  const from = before === undefined ? -1 : Position.positionOf(before.phase, before.retries)
  const to = status._tag === "Unrecognized"
    // The path to an unknown state is unknown: go straight there.
    ? Math.max(from, Position.positionOf("Queued", retries))
    : Position.positionOf(Position.isUnclaimed(status) ? "Queued" : "Running", retries)
  const lastClaim = status._tag === "Unrecognized" ? undefined : Position.claimsAt(to)
  const transitions: Array<Transition> = []
  let known = before

  /** Adds a transition, at a time by the server's clock. `info` is known from there on, if it changed. */
  const add = (
    phase: Position.Phase,
    position: number,
    time: Option.Option<DateTime.Utc>,
    make: (common: Step) => Transition,
    info?: { readonly print: string; readonly seen: Job.JsonObject }
  ): void => {
    const at = Position.isEarlier(Position.millis(time), known?.at) ? Option.none() : time
    const isReached = position === to && phase === Position.phaseOf(status)
    const cursor = Cursor.from(
      {
        job: known?.job ?? jobPrint(job),
        phase,
        retries: Position.retriesAt(position),
        at: Position.millis(at) ?? known?.at,
        claimedAt: phase === "Ended"
          ? undefined
          : phase === "Running" && known?.phase !== "Running"
          ? Position.millis(time)
          : isReached
          ? Position.later(known?.claimedAt, Position.millis(status.claimedAt))
          : known?.claimedAt,
        info: info === undefined ? known?.info : info.print
      },
      job,
      info?.seen
    )
    transitions.push(make({
      job,
      attempt: Position.claimsAt(position),
      at,
      observedAt: options.observedAt,
      evidence: isReached ? "observed" : "inferred",
      snapshot: status,
      cursor
    }))
    known = cursor
  }

  const news = status._tag === "Running" ? newsOf(before, status, options) : undefined
  // a job first seen running, without progress: its `info` counts as known
  const isKnown = before?.info === undefined && news !== undefined && Option.isNone(news.progress) && from < to
  for (let position = from + 1; position <= to; position++) {
    if (position === 0) {
      // the submitter's own `info` is not progress
      const info = status._tag === "Pending" ? { print: infoPrint(status.info), seen: status.info } : undefined
      add("Queued", position, status.createdAt, (common) => ({ _tag: "Queued", ...common }), info)
    } else if (Position.isRunningAt(position)) {
      const claimedAt = Position.claimsAt(position) === lastClaim ? status.claimedAt : Option.none()
      const info = isKnown && position === to ? news.info : undefined
      add("Running", position, claimedAt, (common) => ({ _tag: "Claimed", ...common }), info)
    } else {
      const retriesLeft = Math.max(0, maxRetries - Position.retriesAt(position))
      add("Queued", position, Option.none(), (common) => ({ _tag: "Requeued", ...common, retriesLeft }))
    }
  }
  if (news !== undefined && !isKnown && news.isNew) {
    const { changed, info, progress } = news
    add("Running", to, Option.none(), (common) => ({ _tag: "Progressed", ...common, progress, changed }), info)
  } else if (status._tag !== "Pending" && status._tag !== "Running") {
    add("Ended", to, status.doneAt, (common) => end(common, status, Position.retriesAt(to), options))
  }
  return before !== undefined && transitions.length === 0
    ? unchanged(withClaimedAt(before, status), false)
    // without a cursor, the path begins with `Queued`
    : { transitions, cursor: known as Cursor, stale: false }
}

/** Returns what the `info` of a running job shows since a cursor. */
const newsOf = (before: Cursor | undefined, status: Job.Running, options: DeriveOptions) => {
  const { changed, print } = printInfo(before?.info, status.info)
  return {
    progress: (options.readProgress ?? Job.readProgress)(status.info),
    changed,
    info: { print, seen: status.info },
    isNew: before?.info === undefined || Object.keys(changed).length > 0
  }
}

const end = (
  common: Step,
  status: Job.Terminal | Job.Unrecognized,
  retries: number,
  options: DeriveOptions
): Transition => {
  switch (status._tag) {
    case "Done":
      return { _tag: "Completed", ...common, outputs: status.outputs }
    case "Failed": {
      const reason = (options.readReason ?? Job.failureReason)(status)
      return retries >= maxRetries && Option.isNone(reason)
        ? { _tag: "RetriesExhausted", ...common }
        : { _tag: "FailedByModel", ...common, reason }
    }
    case "Canceled":
      return { _tag: "Canceled", ...common }
    case "Unrecognized":
      return { _tag: "Unrecognized", ...common, status: status.status }
  }
}
