/**
 * The notices of a watcher. `JobWatcher` exports most of these types, so they are not marked as internal: the build would
 * leave them out.
 */
import type * as Chunk from "effect/Chunk"
import type * as Data from "effect/Data"
import type * as DateTime from "effect/DateTime"
import type * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type { Rules } from "../../model/internal/rules.js"
import type { JobRef, JobStatus } from "../../model/Job.js"
import type { QueueError, RateLimited, WatchError } from "../../model/QueueError.js"
import type { Cursor, derive } from "../../model/Transition.js"
import type { WatchPolicy } from "../../policy/WatchPolicy.js"

/**
 * One job of a subscription.
 *
 * @since 0.1.0
 * @category models
 */
export interface Watch {
  /** The reference of the job. */
  readonly job: JobRef
  /**
   * What the subscriber knows of the job. The subscriber sets it to the cursor that it derived from a sample, and a watcher
   * continues from there. If the subscription wants ends alone, the watcher sets it.
   */
  cursor: Cursor | undefined
}

/** See `Notice`. */
export interface Sample {
  readonly _tag: "Sample"
  /** The job of the subscription. */
  readonly watch: Watch
  /** The snapshot. */
  readonly status: JobStatus
  /** When the snapshot arrived, by our clock. */
  readonly at: DateTime.Utc
  /** @internal */
  derived?: Derived | undefined
}

/** How samples are derived. @internal */
export interface DeriveRules extends Rules {
  readonly unrecognized: WatchPolicy["unrecognized"]
}

/** What was derived from a sample last, by which rules and from which cursor. @internal */
export interface Derived extends DeriveRules {
  /** The cursor before the sample. */
  readonly cursor: Cursor | undefined
  /** What the sample adds to the cursor. */
  readonly result: ReturnType<typeof derive>
}

/** See `Notice`. */
export interface Trouble {
  readonly _tag: "Trouble"
  /** The job of the subscription. */
  readonly watch: Watch
  /** The last error. */
  readonly error: QueueError
  /** When the first of these errors came. */
  readonly since: DateTime.Utc
  /** When the next poll is tried. */
  readonly nextTryAt: DateTime.Utc
}

/** See `Notice`. */
export interface Recovered {
  readonly _tag: "Recovered"
  /** The job of the subscription. */
  readonly watch: Watch
  /** When the trouble began. */
  readonly since: DateTime.Utc
}

/** See `Notice`. */
export interface Ended {
  readonly _tag: "Ended"
  /** The job of the subscription. */
  readonly watch: Watch
  /** A success if the job has ended, else why it can't be watched any more. */
  readonly exit: Exit.Exit<void, WatchError>
}

/**
 * A notice of a subscription:
 *
 * - `Sample`: a snapshot of the job. It is an `Unrecognized` only if the policy takes unknown states for the end.
 * - `Trouble`: polls of the job fail, for a reason that may pass.
 * - `Recovered`: a poll of the job succeeded again.
 * - `Ended`: the last notice of a job. It has ended, or it can't be watched any more.
 *
 * @since 0.1.0
 * @category models
 */
export type Notice = Sample | Trouble | Recovered | Ended

/**
 * How jobs are watched, and which notices a subscription receives.
 *
 * @since 0.1.0
 * @category models
 */
export interface SubscribeOptions {
  /** How the jobs are watched. */
  readonly policy: WatchPolicy
  /**
   * Which samples: one for each successful poll, one for each transition that may be derived (fewer if several come at
   * once), or the last one alone. With `end`, troubles are not reported either.
   */
  readonly wants: "polls" | "changes" | "end"
}

/**
 * Jobs that are watched under one policy.
 *
 * @since 0.1.0
 * @category models
 */
export interface Subscription {
  /** Watches another job, from a cursor if there is one. Returns `false` if the subscription watches it already. */
  readonly add: (job: JobRef, from?: Cursor) => Effect.Effect<boolean>
  /** Waits for notices and returns them, at least one; if it is interrupted, the following call does. For one fiber at a time. */
  readonly next: Effect.Effect<Chunk.NonEmptyChunk<Notice>>
}

/**
 * What happens to all jobs of a watcher together. `at` is our clock.
 *
 * - `PollingSlowed`: all pauses are longer by `factor`, because the cadences ask for more polls than the budget allows.
 *   Reported when that begins, ends (`factor` is 1 then), doubles or halves.
 * - `PollingPaused`: the service answered a poll with 429, `error`. No job is polled until `until`; then polls are spread out.
 * - `QueueOrderViolated`: a job of `model` started before its turn. Each job of the model is polled at its cadence from now on.
 *
 * @since 0.1.0
 * @category events
 */
export type PollingEvent = Data.TaggedEnum<{
  PollingSlowed: { readonly at: DateTime.Utc; readonly factor: number }
  PollingPaused: { readonly at: DateTime.Utc; readonly until: DateTime.Utc; readonly error: RateLimited }
  QueueOrderViolated: { readonly at: DateTime.Utc; readonly model: string }
}>

/** What a watcher knows of the jobs of a model. Times are by our clock. @internal */
export interface Inspection {
  /** The jobs that are watched. */
  readonly jobs: ReadonlyArray<InspectedJob>
  /** The jobs that ended in the last minutes: their last snapshots, and when those arrived. */
  readonly ended: ReadonlyArray<Pick<Sample, "status" | "at">>
  /** No job is polled until then, because of a 429. */
  readonly pause: { readonly at: DateTime.Utc; readonly until: DateTime.Utc } | undefined
}

/** A job that is watched. @internal */
export interface InspectedJob {
  /** The reference of the job. */
  readonly job: JobRef
  /** The last snapshot, and when it was last confirmed. */
  readonly last: Pick<Sample, "status" | "at"> | undefined
  /** The cursor of that snapshot. */
  readonly cursor: Cursor | undefined
  /** When the last transition was derived. */
  readonly unchangedSince: DateTime.Utc
  /** The errors of its polls, while they fail, and when the last one came. */
  readonly trouble: (Pick<Trouble, "error" | "since" | "nextTryAt"> & { readonly at: DateTime.Utc }) | undefined
  /** When the first of its watches gives up. */
  readonly deadline: DateTime.Utc | undefined
}
