/**
 * Why a job has not ended yet. Public types of `JobTelemetry` extend these, so they are not marked as internal: the build
 * would leave them out.
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { Rules } from "../../model/internal/rules.js"
import { TimeText } from "../../model/internal/timestamp.js"
import { format, JobRef } from "../../model/Job.js"
import type { JobStatus, Terminal } from "../../model/Job.js"
import { QueueError } from "../../model/QueueError.js"
import type { QueueMetrics } from "../../queue/JobQueue.js"

/** The queue returned no status of the job. Evidence: the error of that call. */
export interface NoStatus {
  readonly _tag: "NoStatus"
  /** The error of the call. */
  readonly error: QueueError
}

/** The job has ended. Evidence: its status. */
export interface Ended {
  readonly _tag: "Ended"
  /** How the job ended: the tag of its status. */
  readonly outcome: Terminal["_tag"]
  /** Why the job failed, if it did and its status has a reason. */
  readonly reason: Option.Option<string>
  /** When the job ended, by the server's clock, if reported. */
  readonly at: Option.Option<DateTime.Utc>
}

/** The job is in a state that this version of the library does not know. Evidence: its status. */
export interface Unrecognized {
  readonly _tag: "Unrecognized"
  /** The state, exactly as the service reported it. */
  readonly status: string
}

/** A worker runs the job. Evidence: its status. */
export interface Running {
  readonly _tag: "Running"
  /** When the worker claimed the job, by the server's clock, if reported. */
  readonly since: Option.Option<DateTime.Utc>
}

/** The job waits, and no job of its model runs: it may have no workers. Evidence: the metrics of the queue. */
export interface NoneRunning {
  readonly _tag: "NoneRunning"
}

/** The job waits in the queue. Evidence: its status, and the metrics of the queue. */
export interface Waiting {
  readonly _tag: "Waiting"
  /** When the job was created, by the server's clock, if reported. */
  readonly createdAt: Option.Option<DateTime.Utc>
  /** The priority of the job, if reported. Jobs of a higher priority go first. */
  readonly priority: Option.Option<number>
  /** The number of waiting and running jobs of the model, if the queue returned them. */
  readonly queue: Option.Option<Pick<QueueMetrics, "waiting" | "running">>
}

/** Workers of the job were lost, so that it began anew. Evidence: its status. */
export interface WorkersLost {
  readonly _tag: "WorkersLost"
  /** How many were lost. */
  readonly times: number
}

/** The time that the job is expected to take from now on. Evidence: what `LearnedCadence` has learned from earlier jobs. */
export interface Expected {
  readonly _tag: "Expected"
  /** The median of the time. */
  readonly median: Duration.Duration
  /** The 95th percentile of the time. */
  readonly p95: Duration.Duration
}

/** A cause, or a fact that helps to judge the others. */
export type Cause = NoStatus | Ended | Unrecognized | Running | NoneRunning | Waiting | WorkersLost | Expected

/** Why a job has not ended yet. */
export interface Explanation {
  /** The reference of the job. */
  readonly job: JobRef
  /** When the queue was asked, by our clock. */
  readonly at: DateTime.Utc
  /** The causes, the weightiest first. */
  readonly causes: ReadonlyArray<Cause>
  /** The causes as one sentence. */
  readonly summary: string
}

const time = Schema.optionalWith(TimeText, { as: "Option" })

const Count = Schema.NonNegativeInt

export const Explanation = Schema.Struct({
  job: JobRef,
  at: TimeText,
  causes: Schema.Array(Schema.Union(
    Schema.TaggedStruct("NoStatus", { error: QueueError }),
    Schema.TaggedStruct("Ended", {
      outcome: Schema.Literal("Done", "Failed", "Canceled"),
      reason: Schema.optionalWith(Schema.String, { as: "Option" }),
      at: time
    }),
    Schema.TaggedStruct("Unrecognized", { status: Schema.String }),
    Schema.TaggedStruct("Running", { since: time }),
    Schema.TaggedStruct("NoneRunning", {}),
    Schema.TaggedStruct("Waiting", {
      createdAt: time,
      priority: Schema.optionalWith(Schema.Int, { as: "Option" }),
      queue: Schema.optionalWith(Schema.Struct({ waiting: Count, running: Count }), { as: "Option" })
    }),
    Schema.TaggedStruct("WorkersLost", { times: Count }),
    Schema.TaggedStruct("Expected", { median: Schema.Duration, p95: Schema.Duration })
  )),
  summary: Schema.String
}).annotations({ identifier: "JobExplanation" })

/** What is known of a job. @internal */
export interface Known {
  readonly job: JobRef
  readonly at: DateTime.Utc
  readonly status: Either.Either<JobStatus, QueueError>
  readonly queue: Option.Option<QueueMetrics>
  readonly eta: Option.Option<Omit<Expected, "_tag">>
  readonly readReason: Rules["readReason"]
}

/** @internal */
export const explain = (known: Known): Explanation => {
  const { at, job, status } = known
  const causes = Either.match(status, {
    onLeft: (error): ReadonlyArray<Cause> => [{ _tag: "NoStatus", error }],
    onRight: (status) => causesOf(status, known)
  })
  return { job, at, causes, summary: `${format(job)}: ${causes.map(phraseOf).join("; ")}` }
}

const causesOf = (status: JobStatus, { eta, queue, readReason }: Known): ReadonlyArray<Cause> => {
  const times = Option.getOrElse(status.retries, () => 0)
  const rest: ReadonlyArray<Cause> = [
    ...times > 0 ? [{ _tag: "WorkersLost" as const, times }] : [],
    ...Option.toArray(Option.map(eta, (eta) => ({ _tag: "Expected" as const, ...eta })))
  ]
  switch (status._tag) {
    case "Pending": {
      const { createdAt, priority } = status
      return [
        ...Option.exists(queue, ({ running }) => running === 0) ? [{ _tag: "NoneRunning" as const }] : [],
        {
          _tag: "Waiting",
          createdAt,
          priority,
          queue: Option.map(queue, ({ running, waiting }) => ({ waiting, running }))
        },
        ...rest
      ]
    }
    case "Running":
      return [{ _tag: "Running", since: status.claimedAt }, ...rest]
    case "Unrecognized":
      return [{ _tag: "Unrecognized", status: status.status }]
    default:
      return [{
        _tag: "Ended",
        outcome: status._tag,
        reason: status._tag === "Failed" ? readReason(status) : Option.none(),
        at: status.doneAt
      }]
  }
}

const phraseOf = (cause: Cause): string => {
  switch (cause._tag) {
    case "NoStatus":
      return `the queue returned no status (${cause.error._tag})`
    case "Ended": {
      const at = optionally(cause.at, (it) => ` at ${DateTime.formatIso(it)}`)
      return `the job ${outcomes[cause.outcome]}${at}${optionally(cause.reason, (it) => ` (${it})`)}`
    }
    case "Unrecognized":
      return `the job is in an unknown state, ${cause.status}`
    case "Running":
      return `a worker has been running the job${optionally(cause.since, (it) => ` since ${DateTime.formatIso(it)}`)}`
    case "NoneRunning":
      return "no job of its model is running"
    case "Waiting": {
      const { createdAt, priority, queue } = cause
      const place = optionally(priority, (it) => ` at priority ${it}`)
      const others = optionally(
        queue,
        ({ running, waiting }) => `, and the queue of its model has ${waiting} waiting and ${running} running jobs`
      )
      return `the job${optionally(createdAt, (it) => `, created at ${DateTime.formatIso(it)},`)} waits${place}${others}`
    }
    case "WorkersLost":
      return cause.times === 1 ? "its worker was lost once" : `its workers were lost ${cause.times} times`
    case "Expected":
      return `half of such jobs end within another ${seconds(cause.median)}, 19 of 20 within ${seconds(cause.p95)}`
  }
}

const outcomes = { Done: "was completed", Failed: "failed", Canceled: "was canceled" }

const optionally = <A>(value: Option.Option<A>, text: (value: A) => string): string =>
  Option.match(value, { onNone: () => "", onSome: text })

const seconds = (duration: Duration.Duration): string =>
  Duration.format(Duration.seconds(Math.ceil(Duration.toSeconds(duration))))
