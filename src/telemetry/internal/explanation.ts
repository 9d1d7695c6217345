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
import { QueueError } from "../../model/QueueError.js"
import type { Eta, Service as Learned } from "../../policy/LearnedCadence.js"
import type { QueueMetrics } from "../../queue/JobQueue.js"
import type { InspectedJob, Inspection, Sample } from "../../watch/internal/notice.js"
import { compare, isOrdered, priorityOf } from "../../watch/internal/queueOrder.js"
import type { Service as Watcher } from "../../watch/JobWatcher.js"

const time = Schema.optionalWith(TimeText, { as: "Option" })

const Count = Schema.NonNegativeInt

/** How old the evidence of a cause is, by our clock; zero if it was asked for just now. */
const age = Schema.Duration

// Times are by the server's clock, `None` if not reported, unless they are said to be by ours.
const Cause = Schema.Union(
  // evidence: the error of the call for the status
  Schema.TaggedStruct("NoStatus", { age, error: QueueError }),
  // evidence: the status, as of all that name no other
  Schema.TaggedStruct("Ended", {
    age,
    outcome: Schema.Literal("Done", "Failed", "Canceled"),
    reason: Schema.optionalWith(Schema.String, { as: "Option" }),
    at: time
  }),
  Schema.TaggedStruct("Unrecognized", { age, status: Schema.String }),
  // since the claim
  Schema.TaggedStruct("Running", { age, since: time }),
  // evidence: the 429; by our clock
  Schema.TaggedStruct("Paused", { age, until: TimeText }),
  // evidence: the last error; since the first one, by our clock
  Schema.TaggedStruct("InTrouble", { age, error: QueueError, since: TimeText, nextTryAt: TimeText }),
  // evidence: the metrics of the queue
  Schema.TaggedStruct("NoneRunning", { age }),
  // evidence: the last snapshots of those jobs, the oldest of them; the highest priority first
  Schema.TaggedStruct("Behind", { age, jobs: Count, priorities: Schema.Array(Schema.Int) }),
  // evidence: the last snapshots of those jobs, the oldest of them
  Schema.TaggedStruct("OthersRun", { age, jobs: Count }),
  // evidence: the last of the jobs that ended; the mean time between two ends
  Schema.TaggedStruct("Pace", { age, jobs: Count, every: Schema.Duration }),
  // evidence: the status, and the metrics of the queue, if it returned them
  Schema.TaggedStruct("Waiting", {
    age,
    createdAt: time,
    priority: Schema.optionalWith(Schema.Int, { as: "Option" }),
    queue: Schema.optionalWith(Schema.Struct({ waiting: Count, running: Count }), { as: "Option" })
  }),
  Schema.TaggedStruct("WorkersLost", { age, times: Count }),
  // evidence: the status, and what `LearnedCadence` has learned
  Schema.TaggedStruct("Expected", {
    age,
    eta: Schema.Struct({
      left: Schema.Duration,
      queue: Schema.Duration,
      run: Schema.Duration,
      interval: Schema.optionalWith(Schema.Struct({ low: Schema.Duration, high: Schema.Duration }), { as: "Option" })
    })
  }),
  // evidence: the deadlines of the watches, the first of them; by our clock
  Schema.TaggedStruct("GivesUp", { age, at: TimeText })
)

export const Explanation = Schema.Struct({
  job: JobRef,
  /** When it was explained, by our clock. */
  at: TimeText,
  /** The weightiest first. */
  causes: Schema.Array(Cause),
  /** The causes as one sentence. */
  summary: Schema.String
}).annotations({ identifier: "JobExplanation" })

export type Cause = typeof Cause.Type

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
): Effect.Effect<typeof Explanation.Type> =>
  Effect.gen(function*() {
    const { readReason } = yield* rules
    const inspection = watcher?.inspect && (yield* watcher.inspect(job.model))
    const watch = inspection?.jobs.find((other) => isSameJob(other.job, job))
    const last = answers !== undefined && Either.isRight(answers.status) ? answers.status.right : watch?.last
    const at = yield* DateTime.now
    const serverTime = DateTime.add(at, { millis: watcher?.clockAhead?.() ?? 0 })
    const eta = last === undefined ? Option.none() : yield* estimate(last.status, serverTime)
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
