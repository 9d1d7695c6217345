/**
 * What a watcher reports. Public types (`JobWatcher`) extend these, so they are not marked as internal: the build would leave
 * them out.
 */
import type * as Chunk from "effect/Chunk"
import type * as DateTime from "effect/DateTime"
import type * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type { JobRef, JobStatus } from "../../model/Job.js"
import type { QueueError, WatchError } from "../../model/QueueError.js"
import type { Cursor } from "../../model/Transition.js"
import type { WatchPolicy } from "../../policy/WatchPolicy.js"

/**
 * One job of a subscription.
 */
export interface Watch {
  /** The reference of the job. */
  readonly job: JobRef
  /**
   * What the subscriber knows of the job. The subscriber sets it to the cursor that it derived from a sample; a watcher
   * reads it, to go on from there. A subscription to ends alone has it set by the watcher.
   */
  cursor: Cursor | undefined
}

/**
 * A snapshot of the job. It is an `Unrecognized` only if the policy takes unknown states for the end.
 */
export interface Sample {
  readonly _tag: "Sample"
  /** The job of the subscription. */
  readonly watch: Watch
  /** The snapshot. */
  readonly status: JobStatus
  /** When the snapshot arrived, by our clock. */
  readonly at: DateTime.Utc
}

/**
 * Polls of the job fail, for a reason that may pass.
 */
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

/**
 * A poll of the job was answered again.
 */
export interface Recovered {
  readonly _tag: "Recovered"
  /** The job of the subscription. */
  readonly watch: Watch
  /** When the trouble began. */
  readonly since: DateTime.Utc
}

/**
 * The last notice of a job: it has ended, or it can't be watched any more.
 */
export interface Ended {
  readonly _tag: "Ended"
  /** The job of the subscription. */
  readonly watch: Watch
  /** A success if the job has ended, else why it can't be watched any more. */
  readonly exit: Exit.Exit<void, WatchError>
}

/**
 * What a subscription reports.
 */
export type Notice = Sample | Trouble | Recovered | Ended

/**
 * How jobs are watched, and what of them is reported.
 */
export interface SubscribeOptions {
  /** How the jobs are watched. */
  readonly policy: WatchPolicy
  /**
   * Which samples: one for each poll that was answered, one for each transition that may be derived (fewer where several
   * came at once), or the last one alone. With `end`, troubles are not reported either.
   */
  readonly wants: "polls" | "changes" | "end"
}

/**
 * Some jobs, watched under one policy.
 */
export interface Subscription {
  /**
   * Watches one more job, from a cursor on if there is one. `false` if the subscription watches it already: then nothing
   * changes.
   */
  readonly add: (job: JobRef, from?: Cursor) => Effect.Effect<boolean>
  /** Waits until there is something to report, and returns it: one notice at least. It is for one fiber at a time. */
  readonly next: Effect.Effect<Chunk.NonEmptyChunk<Notice>>
}
