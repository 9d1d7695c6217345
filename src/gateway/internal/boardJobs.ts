/**
 * What this process knows of the jobs that it watches, for the board. It is bounded: a number of jobs, and of each the steps
 * of its attempts, without inputs and outputs.
 */
import * as Cause from "effect/Cause"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import { keyOf } from "../../model/internal/jobKey.js"
import * as Job from "../../model/Job.js"
import * as JobSummary from "../../model/JobSummary.js"
import type { WatchError } from "../../model/QueueError.js"
import type * as Transition from "../../model/Transition.js"
import { expectedEnd, type Service as Learned } from "../../policy/LearnedCadence.js"
import type { Observer } from "../../watch/internal/observed.js"
import { deriveFrom, type DeriveRules } from "../../watch/internal/reader.js"
import type { Notice } from "../../watch/JobWatcher.js"
import { encodersOf } from "./view.js"

const slim = encodersOf("slim")

// an error itself may have the last snapshot
const messageOf = (error: WatchError): unknown => slim.error(error)["message"]

const maxReasonLength = 1_000

// The service allows four attempts, with three steps each at most.
const maxSteps = 64

const stepOf = (transition: Transition.Transition): Job.JsonObject => {
  const { _tag, at, attempt, evidence, observedAt, progress, reason, retriesLeft, status } = slim.event(transition)
  return {
    _tag,
    at,
    attempt,
    evidence,
    observedAt,
    progress,
    reason: typeof reason === "string" ? reason.slice(0, maxReasonLength) : undefined,
    retriesLeft,
    status
  }
}

/** A job of the board. @internal */
export class Entry {
  private summary: JobSummary.JobSummary
  private cursor: Transition.Cursor | undefined
  /** The transitions as they are sent, oldest first; of successive `Progressed` the last. */
  private readonly steps: Array<Job.JsonObject> = []
  private isAtProgress = false
  private trouble: Job.JsonObject | undefined
  private error: unknown
  private encoded: string | undefined
  /** When the job is expected to end, by our clock, in milliseconds since the epoch. */
  expectedEnd: Option.Option<number> = Option.none()
  isWatched = true

  constructor(readonly job: Job.JobRef) {
    this.summary = JobSummary.empty(job)
  }

  get outcome(): Option.Option<Transition.Terminal["_tag"]> {
    return this.summary.outcome
  }

  /** Whether nothing more is expected. */
  get isOver(): boolean {
    return !this.isWatched || Option.isSome(this.outcome) || this.error !== undefined
  }

  changed(): void {
    this.encoded = undefined
  }

  /** Notes what a subscription has received. Returns whether the job has made a step, and whether anything is new. */
  note(notice: Notice, rules: DeriveRules): { readonly hasMoved: boolean; readonly isNew: boolean } {
    const had = this.trouble !== undefined || this.error !== undefined
    switch (notice._tag) {
      case "Sample": {
        const hasMoved = this.derive(notice, rules)
        this.trouble = undefined
        this.error = undefined
        return { hasMoved, isNew: had || hasMoved }
      }
      case "Trouble":
        this.trouble = { message: messageOf(notice.error), since: DateTime.formatIso(notice.since) }
        return { hasMoved: false, isNew: true }
      case "Recovered":
        this.trouble = undefined
        return { hasMoved: false, isNew: had }
      case "Ended":
        if (Exit.isFailure(notice.exit)) {
          this.error = Option.match(Cause.failureOption(notice.exit.cause), {
            onNone: () => "the watch died",
            onSome: messageOf
          })
        }
        return { hasMoved: false, isNew: this.error !== undefined }
    }
  }

  private derive(sample: Extract<Notice, { readonly _tag: "Sample" }>, { rules }: DeriveRules): boolean {
    const derived = deriveFrom(this.cursor, sample, { policy: { unrecognized: "end" }, rules })
    if (Either.isLeft(derived)) return false
    const { cursor, transitions } = derived.right
    this.cursor = cursor
    for (const transition of transitions) this.add(transition)
    return transitions.length > 0
  }

  private add(transition: Transition.Transition): void {
    this.summary = JobSummary.add(this.summary, transition)
    const isProgress = transition._tag === "Progressed"
    if (isProgress && this.isAtProgress) this.steps.pop()
    if (this.steps.length === maxSteps) this.steps.shift()
    this.steps.push(stepOf(transition))
    this.isAtProgress = isProgress
  }

  /** Everything that the board shows of the job, as JSON. It is encoded once for all pages. */
  get json(): string {
    return this.encoded ??= JSON.stringify({
      job: Job.format(this.job),
      model: this.job.model,
      requestId: this.job.requestId,
      steps: this.steps,
      since: Option.getOrUndefined(Option.map(this.summary.since, DateTime.formatIso)),
      inQueue: Duration.toMillis(this.summary.inQueue),
      exact: this.summary.exact,
      expectedEnd: Option.getOrUndefined(
        Option.map(this.expectedEnd, (end) => DateTime.formatIso(DateTime.unsafeMake(end)))
      ),
      trouble: this.trouble,
      error: this.error,
      isWatched: this.isWatched
    })
  }
}

/** A page that follows the jobs. @internal */
export interface Follower {
  readonly changed: (entry: Entry) => void
  readonly removed: (entry: Entry) => void
}

/** The jobs that are watched, or were. @internal */
export class Jobs implements Observer<Job.JobRef> {
  private readonly entries = new Map<string, Entry>()
  private readonly watched = new Set<string>()
  readonly followers = new Set<Follower>()

  constructor(
    private readonly maxJobs: number,
    private readonly eta: Learned["eta"],
    private readonly clockAhead?: () => number
  ) {}

  /** The jobs, in the order in which they became known. */
  get all(): Iterable<Entry> {
    return this.entries.values()
  }

  /** How many jobs are watched, but are too many to show. */
  get hidden(): number {
    let hidden = 0
    for (const key of this.watched) if (!this.entries.has(key)) hidden++
    return hidden
  }

  get(job: Job.JobRef): Entry | undefined {
    return this.entries.get(keyOf(job))
  }

  begin(job: Job.JobRef): Job.JobRef {
    this.watched.add(keyOf(job))
    const entry = this.getOrAdd(job)
    if (entry !== undefined) this.setWatched(entry, true)
    return job
  }

  onNotice(job: Job.JobRef, notice: Notice, rules: DeriveRules): Effect.Effect<void> | undefined {
    const entry = this.getOrAdd(job)
    if (entry === undefined) return undefined
    const { hasMoved, isNew } = entry.note(notice, rules)
    if (isNew) this.changed(entry)
    if (!hasMoved || notice._tag !== "Sample") return undefined
    return Effect.map(expectedEnd(this.eta, notice.status, this.clockAhead?.()), (end) => {
      entry.expectedEnd = end
      this.changed(entry)
    })
  }

  end(job: Job.JobRef): undefined {
    this.watched.delete(keyOf(job))
    const entry = this.get(job)
    if (entry !== undefined) this.setWatched(entry, false)
  }

  private setWatched(entry: Entry, isWatched: boolean): void {
    entry.isWatched = isWatched
    this.changed(entry)
  }

  private getOrAdd(job: Job.JobRef): Entry | undefined {
    const known = this.get(job)
    if (known !== undefined || !this.makeRoom()) return known
    const entry = new Entry(job)
    this.entries.set(keyOf(job), entry)
    return entry
  }

  private makeRoom(): boolean {
    if (this.entries.size < this.maxJobs) return true
    for (const [key, entry] of this.entries) {
      if (entry.isOver) {
        this.entries.delete(key)
        for (const follower of this.followers) follower.removed(entry)
        return true
      }
    }
    return false
  }

  private changed(entry: Entry): void {
    entry.changed()
    for (const follower of this.followers) follower.changed(entry)
  }
}
