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
import { format, JobRef, Running } from "../../model/Job.js"
import { QueueError } from "../../model/QueueError.js"
import { derive } from "../../model/Transition.js"
import type { Eta, Service as Learned } from "../../policy/LearnedCadence.js"
import { clockAheadOf, hidden } from "../../queue/internal/hidden.js"
import type { QueueMetrics } from "../../queue/JobQueue.js"
import type { InspectedJob, Inspection, Sample } from "../../watch/internal/notice.js"
import { compare, isOrdered, priorityOf } from "../../watch/internal/queueOrder.js"
import type { Service as Watcher } from "../../watch/JobWatcher.js"

const time = Schema.optionalWith(TimeText, { as: "Option" })

const Count = Schema.NonNegativeInt

/** How old the evidence of a cause is, by our clock; zero if it was asked for just now. */
const age = Schema.Duration

// Times are by the server's clock, `None` if not reported; those of `NoChange`, `Paused`, `InTrouble` and `GivesUp` are by
// ours.
const Cause = Schema.Union(
  Schema.TaggedStruct("NoStatus", { age, error: QueueError }),
  Schema.TaggedStruct("Ended", {
    age,
    outcome: Schema.Literal("Done", "Failed", "Canceled"),
    reason: Schema.optionalWith(Schema.String, { as: "Option" }),
    at: time
  }),
  Schema.TaggedStruct("Unrecognized", { age, status: Schema.String }),
  Schema.TaggedStruct("Running", { age, since: time }),
  Schema.TaggedStruct("NoChange", {
    age,
    since: TimeText,
    timesUsual: Schema.optionalWith(Schema.NonNegative, { as: "Option" })
  }),
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

/** What the queue answered just now: the status of the job, and the metrics of its model, if it returned them. @internal */
export interface Answer extends Dated {
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
  estimate: Learned["eta"],
  answer: Either.Either<Answer, QueueError> | undefined
): Effect.Effect<typeof Explanation.Type> =>
  Effect.gen(function*() {
    const { readReason } = yield* rules
    const inspect = watcher && hidden(watcher, "inspect")
    const inspection = inspect && (yield* inspect(job.model))
    const watch = inspection?.jobs.find((other) => isSameJob(other.job, job))
    const answered = answer && Option.getOrUndefined(Either.getRight(answer))
    // the metrics of now say nothing of an older state
    const last = answered ?? (watch?.last && { ...watch.last, queue: Option.none() })
    const at = yield* DateTime.now
    const byServer = DateTime.add({ millis: watcher === undefined ? 0 : clockAheadOf(watcher)() })
    const causes: Array<Cause> = answer?._tag === "Left"
      ? [{ _tag: "NoStatus", age: Duration.zero, error: answer.left }]
      : []
    if (last !== undefined) {
      const firstSeen = watch === undefined ? last.at : firstSeenOf(last, watch)
      const eta = yield* estimate(last.status, byServer(at), byServer(firstSeen))
      const claimed = Running({ job, claimedAt: Option.some(byServer(at)) })
      const usual = Option.map(yield* estimate(claimed, byServer(at)), ({ run }) => run)
      const known = { job, at, inspection, watch, firstSeen, eta, usual, readReason }
      for (const cause of causesOf(last, known)) causes.push(cause)
    }
    return { job, at, causes, summary: `${format(job)}: ${causes.map(phraseOf).join("; ")}` }
  })

interface Known {
  readonly job: JobRef
  readonly at: DateTime.Utc
  readonly inspection: Inspection | undefined
  /** The job itself, if it is watched. */
  readonly watch: InspectedJob | undefined
  /** When the last snapshot was first seen as it is. */
  readonly firstSeen: DateTime.Utc
  readonly eta: Option.Option<Eta>
  /** The usual running time of the model. */
  readonly usual: Option.Option<Duration.Duration>
  readonly readReason: Rules["readReason"]
}

/** Returns when the watch of a job first saw what a snapshot shows; if it has not, when the snapshot arrived. */
const firstSeenOf = ({ at, status }: Dated, { cursor, unchangedSince }: InspectedJob): DateTime.Utc => {
  const derived = derive(Option.fromNullable(cursor), status, { observedAt: at, unrecognized: "end" })
  const isKnown = Either.isRight(derived) && !derived.right.stale && derived.right.transitions.length === 0
  return isKnown ? unchangedSince : at
}

const causesOf = (last: Answer, known: Known): ReadonlyArray<Cause> => {
  const { at: now, eta, firstSeen, inspection, job, readReason, usual, watch } = known
  const { queue, status } = last
  const ageOf = (it: Pick<Dated, "at">) => Duration.millis(Math.max(0, now.epochMillis - it.at.epochMillis))
  const age = ageOf(last)
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
    causes.push({ _tag: "Paused", age: ageOf(inspection.pause), until: inspection.pause.until })
  }
  if (watch?.trouble !== undefined) {
    const { at, ...trouble } = watch.trouble
    causes.push({ _tag: "InTrouble", age: ageOf({ at }), ...trouble })
  }
  if (status._tag === "Running") {
    causes.push({ _tag: "Running", age, since: status.claimedAt })
    const quiet = last.at.epochMillis - firstSeen.epochMillis
    if (quiet >= quietAfter) {
      const timesUsual = Option.map(usual, (usual) => quiet / Duration.toMillis(usual))
      causes.push({ _tag: "NoChange", age, since: firstSeen, timesUsual })
    }
  } else {
    const { createdAt, priority } = status
    if (Option.exists(queue, ({ running }) => running === 0)) causes.push({ _tag: "NoneRunning", age: Duration.zero })
    const others = (inspection?.jobs ?? []).flatMap(({ last }) =>
      last === undefined || isSameJob(last.status.job, job) ? [] : last
    )
    const oldest = (all: ReadonlyArray<Dated>) => all.map(ageOf).reduce(Duration.max)
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
    const ends = ended.flatMap(({ status }) => Option.toArray(status.doneAt)).map(DateTime.toEpochMillis)
    if (ends.length >= fewestEnds) {
      const every = Duration.millis((Math.max(...ends) - Math.min(...ends)) / (ends.length - 1))
      causes.push({ _tag: "Pace", age: ageOf(ended.at(-1)!), jobs: ends.length, every })
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

/** A running job counts as unchanged after this time, in milliseconds. @internal */
export const quietAfter: number = Duration.toMillis("1 minute")

// fewer ends show no pace
const fewestEnds = 3

const phraseOf = (cause: Cause): string => {
  // each text takes the cause of its tag
  const phrase = (texts[cause._tag] as (cause: Cause) => string)(cause)
  return Duration.lessThan(cause.age, Duration.seconds(1)) ? phrase : `${phrase} (${seconds(cause.age)} ago)`
}

const texts: { readonly [Tag in Cause["_tag"]]: (cause: Extract<Cause, { readonly _tag: Tag }>) => string } = {
  NoStatus: ({ error }) => `the queue returned no status (${error._tag})`,
  Ended: ({ at, outcome, reason }) =>
    `the job ${outcomes[outcome]}${optionally(at, (it) => ` at ${iso(it)}`)}${optionally(reason, (it) => ` (${it})`)}`,
  Unrecognized: ({ status }) => `the job is in an unknown state, ${status}`,
  Running: ({ since }) => `a worker has been running the job${optionally(since, (it) => ` since ${iso(it)}`)}`,
  NoChange: ({ since, timesUsual }) =>
    `nothing of it has changed since ${iso(since)}${
      optionally(
        Option.filter(timesUsual, (times) => times >= 2),
        (times) => `, ${Math.floor(times)} times as long as such jobs usually run`
      )
    }`,
  Paused: ({ until }) => `the service answered 429, so no job is polled until ${iso(until)}`,
  InTrouble: ({ error, nextTryAt, since }) =>
    `polls of the job have failed since ${iso(since)} (${error._tag}), the next try is at ${iso(nextTryAt)}`,
  NoneRunning: () => "no job of its model is running",
  Behind: ({ jobs, priorities }) =>
    `${jobs} of your jobs ${jobs === 1 ? "is" : "are"} ahead of it at priority ${priorities.join(", ")}`,
  OthersRun: ({ jobs }) => `${jobs} of your jobs ${jobs === 1 ? "runs" : "run"}`,
  Pace: ({ every }) => `one ended every ${seconds(every)}`,
  Waiting: ({ createdAt, priority, queue }) => {
    const place = optionally(priority, (it) => ` at priority ${it}`)
    const others = optionally(
      queue,
      ({ running, waiting }) => `, and the queue of its model has ${waiting} waiting and ${running} running jobs`
    )
    return `the job${optionally(createdAt, (it) => `, created at ${iso(it)},`)} waits${place}${others}`
  },
  WorkersLost: ({ times }) => times === 1 ? "its worker was lost once" : `its workers were lost ${times} times`,
  Expected: ({ eta: { interval, left } }) =>
    `about ${seconds(left)} to go, ${
      Option.match(interval, {
        onNone: () => "if it goes on at its speed so far",
        onSome: ({ high, low }) => `for 8 of 10 such jobs ${seconds(low)} to ${seconds(high)}`
      })
    }`,
  GivesUp: ({ at }) => `its watch gives up at ${iso(at)}`
}

const outcomes = { Done: "was completed", Failed: "failed", Canceled: "was canceled" }

const optionally = <A>(value: Option.Option<A>, text: (value: A) => string): string =>
  Option.match(value, { onNone: () => "", onSome: text })

const iso = DateTime.formatIso

const seconds = (duration: Duration.Duration): string =>
  Duration.format(Duration.seconds(Math.ceil(Duration.toSeconds(duration))))
