/**
 * Why a job has not ended yet. Public types of `JobTelemetry` extend these, so they are not marked as internal: the build
 * would leave them out.
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { isSameJob } from "../../model/internal/jobKey.js"
import { type Rules, rules } from "../../model/internal/rules.js"
import { TimeText } from "../../model/internal/timestamp.js"
import { format, JobRef } from "../../model/Job.js"
import type { Terminal } from "../../model/Job.js"
import { QueueError } from "../../model/QueueError.js"
import type { Eta, Service as Learned } from "../../policy/LearnedCadence.js"
import type { QueueMetrics } from "../../queue/JobQueue.js"
import type { InspectedJob, Inspection, Sample } from "../../watch/internal/notice.js"
import { compare, isOrdered, priorityOf } from "../../watch/internal/queueOrder.js"
import type { Service as Watcher } from "../../watch/JobWatcher.js"

/** What a cause is known from. */
interface Evidence {
  /** How old that is, by our clock; zero if it was asked for just now. */
  readonly age: Duration.Duration
}

/** The queue returned no status of the job. Evidence: the error of that call. */
export interface NoStatus extends Evidence {
  readonly _tag: "NoStatus"
  /** The error of the call. */
  readonly error: QueueError
}

/** The job has ended. Evidence: its status. */
export interface Ended extends Evidence {
  readonly _tag: "Ended"
  /** How the job ended: the tag of its status. */
  readonly outcome: Terminal["_tag"]
  /** Why the job failed, if it did and its status has a reason. */
  readonly reason: Option.Option<string>
  /** When the job ended, by the server's clock, if reported. */
  readonly at: Option.Option<DateTime.Utc>
}

/** The job is in a state that this version of the library does not know. Evidence: its status. */
export interface Unrecognized extends Evidence {
  readonly _tag: "Unrecognized"
  /** The state, exactly as the service reported it. */
  readonly status: string
}

/** A worker runs the job. Evidence: its status. */
export interface Running extends Evidence {
  readonly _tag: "Running"
  /** When the worker claimed the job, by the server's clock, if reported. */
  readonly since: Option.Option<DateTime.Utc>
}

/** No job is polled, because the service answered a poll with 429. Evidence: that response. */
export interface Paused extends Evidence {
  readonly _tag: "Paused"
  /** Until when. */
  readonly until: DateTime.Utc
}

/** Polls of the job fail. Evidence: the last error. */
export interface InTrouble extends Evidence {
  readonly _tag: "InTrouble"
  /** The last error. */
  readonly error: QueueError
  /** When the first of these errors came. */
  readonly since: DateTime.Utc
  /** When the next poll is tried. */
  readonly nextTryAt: DateTime.Utc
}

/** The job waits, and no job of its model runs: it may have no workers. Evidence: the metrics of the queue. */
export interface NoneRunning extends Evidence {
  readonly _tag: "NoneRunning"
}

/** Jobs that this program watches wait before it in the queue. Evidence: their last snapshots, the oldest of them. */
export interface Behind extends Evidence {
  readonly _tag: "Behind"
  /** How many. */
  readonly jobs: number
  /** Their priorities, the highest first. */
  readonly priorities: ReadonlyArray<number>
}

/** Jobs of the model that this program watches run. Evidence: their last snapshots, the oldest of them. */
export interface OthersRun extends Evidence {
  readonly _tag: "OthersRun"
  /** How many. */
  readonly jobs: number
}

/** How often jobs of the model have ended lately. Evidence: the jobs that this program saw end, the last of them. */
export interface Pace extends Evidence {
  readonly _tag: "Pace"
  /** How many ended. */
  readonly jobs: number
  /** The mean time between two ends, by the server's clock. */
  readonly every: Duration.Duration
}

/** The job waits in the queue. Evidence: its status, and the metrics of the queue. */
export interface Waiting extends Evidence {
  readonly _tag: "Waiting"
  /** When the job was created, by the server's clock, if reported. */
  readonly createdAt: Option.Option<DateTime.Utc>
  /** The priority of the job, if reported. Jobs of a higher priority go first. */
  readonly priority: Option.Option<number>
  /** The number of waiting and running jobs of the model, if the queue returned them. */
  readonly queue: Option.Option<Pick<QueueMetrics, "waiting" | "running">>
}

/** Workers of the job were lost, so that it began anew. Evidence: its status. */
export interface WorkersLost extends Evidence {
  readonly _tag: "WorkersLost"
  /** How many were lost. */
  readonly times: number
}

/** An estimate of the time until the job ends. Evidence: its status, and what `LearnedCadence` has learned. */
export interface Expected extends Evidence {
  readonly _tag: "Expected"
  /** The estimate. */
  readonly eta: Eta
}

/** A watch of the job gives up before the job has ended. Evidence: its deadlines. */
export interface GivesUp extends Evidence {
  readonly _tag: "GivesUp"
  /** When the first watch does. */
  readonly at: DateTime.Utc
}

/** A cause, or a fact that helps to judge the others. */
export type Cause =
  | NoStatus
  | Ended
  | Unrecognized
  | Running
  | Paused
  | InTrouble
  | NoneRunning
  | Behind
  | OthersRun
  | Pace
  | Waiting
  | WorkersLost
  | Expected
  | GivesUp

/** Why a job has not ended yet. */
export interface Explanation {
  /** The reference of the job. */
  readonly job: JobRef
  /** When it was explained, by our clock. */
  readonly at: DateTime.Utc
  /** The causes, the weightiest first. */
  readonly causes: ReadonlyArray<Cause>
  /** The causes as one sentence. */
  readonly summary: string
}

const time = Schema.optionalWith(TimeText, { as: "Option" })

const Count = Schema.NonNegativeInt

const age = Schema.Duration

export const Explanation = Schema.Struct({
  job: JobRef,
  at: TimeText,
  causes: Schema.Array(Schema.Union(
    Schema.TaggedStruct("NoStatus", { age, error: QueueError }),
    Schema.TaggedStruct("Ended", {
      age,
      outcome: Schema.Literal("Done", "Failed", "Canceled"),
      reason: Schema.optionalWith(Schema.String, { as: "Option" }),
      at: time
    }),
    Schema.TaggedStruct("Unrecognized", { age, status: Schema.String }),
    Schema.TaggedStruct("Running", { age, since: time }),
    Schema.TaggedStruct("Paused", { age, until: TimeText }),
    Schema.TaggedStruct("InTrouble", { age, error: QueueError, since: TimeText, nextTryAt: TimeText }),
    Schema.TaggedStruct("NoneRunning", { age }),
    Schema.TaggedStruct("Behind", { age, jobs: Count, priorities: Schema.Array(Schema.Int) }),
    Schema.TaggedStruct("OthersRun", { age, jobs: Count }),
    Schema.TaggedStruct("Pace", { age, jobs: Count, every: Schema.Duration }),
    Schema.TaggedStruct("Waiting", {
      age,
      createdAt: time,
      priority: Schema.optionalWith(Schema.Int, { as: "Option" }),
      queue: Schema.optionalWith(Schema.Struct({ waiting: Count, running: Count }), { as: "Option" })
    }),
    Schema.TaggedStruct("WorkersLost", { age, times: Count }),
    Schema.TaggedStruct("Expected", {
      age,
      eta: Schema.Struct({
        left: Schema.Duration,
        queue: Schema.Duration,
        run: Schema.Duration,
        interval: Schema.optionalWith(Schema.Struct({ low: Schema.Duration, high: Schema.Duration }), { as: "Option" })
      })
    }),
    Schema.TaggedStruct("GivesUp", { age, at: TimeText })
  )),
  summary: Schema.String
}).annotations({ identifier: "JobExplanation" })

/** A snapshot, and when it arrived. */
type Dated = Pick<Sample, "status" | "at">

type Estimate = Learned["eta"]

/** What the queue answered just now. @internal */
export interface Answers {
  readonly status: Either.Either<Dated, QueueError>
  readonly queue: Option.Option<QueueMetrics>
}

/**
 * Explains a job by what the queue answered, if it was asked, and by what a watcher knows of its model. There are no causes
 * if neither knows the job.
 *
 * @internal
 */
export const explain = (
  job: JobRef,
  watcher: Watcher | undefined,
  estimate: Estimate,
  answers: Answers | undefined
): Effect.Effect<Explanation> =>
  Effect.gen(function*() {
    const { readReason } = yield* rules
    const inspection = watcher?.inspect && (yield* watcher.inspect(job.model))
    const watch = inspection?.jobs.find((other) => isSameJob(other.job, job))
    const last = answers !== undefined && Either.isRight(answers.status) ? answers.status.right : watch?.last
    const eta = last === undefined ? Option.none() : yield* estimate(last.status)
    const at = yield* DateTime.now
    // the metrics of now say nothing of an older state
    const queue = answers !== undefined && Either.isRight(answers.status) ? answers.queue : Option.none()
    const causes: ReadonlyArray<Cause> = [
      ...answers !== undefined && Either.isLeft(answers.status)
        ? [{ _tag: "NoStatus" as const, age: Duration.zero, error: answers.status.left }]
        : [],
      ...last === undefined ? [] : causesOf(last, { job, at, queue, inspection, watch, eta, readReason })
    ]
    return { job, at, causes, summary: `${format(job)}: ${causes.map(phraseOf).join("; ")}` }
  })

interface Known extends Pick<Answers, "queue"> {
  readonly job: JobRef
  readonly at: DateTime.Utc
  readonly inspection: Inspection | undefined
  /** The job itself, if it is watched. */
  readonly watch: InspectedJob | undefined
  readonly eta: Option.Option<Eta>
  readonly readReason: Rules["readReason"]
}

const causesOf = (last: Dated, known: Known): ReadonlyArray<Cause> => {
  const { at: now, eta, inspection, job, queue, readReason, watch } = known
  const { status } = last
  const ageOf = (at: DateTime.Utc) => Duration.millis(Math.max(0, now.epochMillis - at.epochMillis))
  const age = ageOf(last.at)
  switch (status._tag) {
    case "Unrecognized":
      return [{ _tag: "Unrecognized", age, status: status.status }]
    case "Done":
    case "Failed":
    case "Canceled": {
      const reason = status._tag === "Failed" ? readReason(status) : Option.none()
      return [{ _tag: "Ended", age, outcome: status._tag, reason, at: status.doneAt }]
    }
  }
  const causes: Array<Cause> = []
  if (inspection?.pause !== undefined) {
    causes.push({ _tag: "Paused", age: ageOf(inspection.pause.at), until: inspection.pause.until })
  }
  if (watch?.trouble !== undefined) {
    const { at, ...trouble } = watch.trouble
    causes.push({ _tag: "InTrouble", age: ageOf(at), ...trouble })
  }
  if (status._tag === "Running") causes.push({ _tag: "Running", age, since: status.claimedAt })
  else {
    const { createdAt, priority } = status
    if (Option.exists(queue, ({ running }) => running === 0)) causes.push({ _tag: "NoneRunning", age: Duration.zero })
    const others = (inspection?.jobs ?? []).flatMap(({ last }) =>
      last === undefined || isSameJob(last.status.job, job) ? [] : last
    )
    const oldest = (all: ReadonlyArray<Dated>) =>
      Duration.millis(Math.max(...all.map(({ at }) => Duration.toMillis(ageOf(at)))))
    const ahead = others.filter((other) =>
      isOrdered(status) && isOrdered(other.status) && compare(other.status, status) < 0
    )
    if (ahead.length > 0) {
      const priorities = Array.from(new Set(ahead.map((other) => priorityOf(other.status)))).sort((a, b) => b - a)
      causes.push({ _tag: "Behind", age: oldest(ahead), jobs: ahead.length, priorities })
    }
    const running = others.filter((other) => other.status._tag === "Running")
    if (running.length > 0) causes.push({ _tag: "OthersRun", age: oldest(running), jobs: running.length })
    const ended = inspection?.ended ?? []
    const times = ended.flatMap(({ status }) => Option.toArray(status.doneAt)).map(DateTime.toEpochMillis).sort((
      a,
      b
    ) => a - b)
    if (times.length >= fewestEnds) {
      const every = Duration.millis((times.at(-1)! - times[0]!) / (times.length - 1))
      causes.push({ _tag: "Pace", age: ageOf(ended.at(-1)!.at), jobs: times.length, every })
    }
    causes.push({
      _tag: "Waiting",
      age,
      createdAt,
      priority,
      queue: Option.map(queue, ({ running, waiting }) => ({ waiting, running }))
    })
  }
  const times = Option.getOrElse(status.retries, () => 0)
  if (times > 0) causes.push({ _tag: "WorkersLost", age, times })
  if (Option.isSome(eta)) causes.push({ _tag: "Expected", age, eta: eta.value })
  if (watch?.deadline !== undefined) causes.push({ _tag: "GivesUp", age: Duration.zero, at: watch.deadline })
  return causes
}

// fewer ends show no pace
const fewestEnds = 3

const phraseOf = (cause: Cause): string => {
  const phrase = textOf(cause)
  return Duration.lessThan(cause.age, Duration.seconds(1)) ? phrase : `${phrase} (${seconds(cause.age)} ago)`
}

const textOf = (cause: Cause): string => {
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
    case "Paused":
      return `the service answered 429, so no job is polled until ${DateTime.formatIso(cause.until)}`
    case "InTrouble":
      return `polls of the job have failed since ${
        DateTime.formatIso(cause.since)
      } (${cause.error._tag}), the next try is ` +
        `at ${DateTime.formatIso(cause.nextTryAt)}`
    case "NoneRunning":
      return "no job of its model is running"
    case "Behind":
      return `${cause.jobs} of your jobs ${cause.jobs === 1 ? "is" : "are"} ahead of it at priority ${
        cause.priorities.join(", ")
      }`
    case "OthersRun":
      return `${cause.jobs} of your jobs ${cause.jobs === 1 ? "runs" : "run"}`
    case "Pace":
      return `one ended every ${seconds(cause.every)}`
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
    case "Expected": {
      const { interval, left } = cause.eta
      return `about ${seconds(left)} to go${
        optionally(interval, ({ high, low }) => `, for 8 of 10 such jobs ${seconds(low)} to ${seconds(high)}`)
      }`
    }
    case "GivesUp":
      return `its watch gives up at ${DateTime.formatIso(cause.at)}`
  }
}

const outcomes = { Done: "was completed", Failed: "failed", Canceled: "was canceled" }

const optionally = <A>(value: Option.Option<A>, text: (value: A) => string): string =>
  Option.match(value, { onNone: () => "", onSome: text })

const seconds = (duration: Duration.Duration): string =>
  Duration.format(Duration.seconds(Math.ceil(Duration.toSeconds(duration))))
