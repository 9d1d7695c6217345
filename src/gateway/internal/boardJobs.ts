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
import type * as Encoded from "../../browser/BrowserClient.js"
import { keyOf } from "../../model/internal/jobKey.js"
import * as Job from "../../model/Job.js"
import * as JobSummary from "../../model/JobSummary.js"
import type { WatchError } from "../../model/QueueError.js"
import type * as Transition from "../../model/Transition.js"
import { expectedEnd, type Service as Learned } from "../../policy/LearnedCadence.js"
import type { DeriveRules, Notice, Sample } from "../../watch/internal/notice.js"
import type { Observer } from "../../watch/internal/observed.js"
import { deriveFrom } from "../../watch/internal/reader.js"
import { encodersOf, slimErrorOf } from "./view.js"

const { event: encode } = encodersOf("slim")

// an error may quote what the service responded
const messageOf = (error: WatchError): string => slimErrorOf(error).message

const maxReasonLength = 1_000

// The service allows four attempts, with three steps each at most.
const maxSteps = 64

type Without<A, Key extends PropertyKey> = A extends unknown ? Omit<A, Key> : never

/** A transition, as the board sends it. @internal */
export type Step = Without<Encoded.Transition, "changed" | "cursor" | "id" | "job" | "outputs" | "snapshot">

const stepOf = (transition: Transition.Transition): Step => {
  const { changed: _changed, cursor: _cursor, job: _job, outputs: _outputs, reason, ...step } = encode(transition)
  // what clients receive of a transition
  return { ...step, ...(typeof reason === "string" && { reason: reason.slice(0, maxReasonLength) }) } as Step
}

interface Problem {
  /** That polls fail, and since when. */
  readonly trouble?: { readonly message: string; readonly since: string } | undefined
  /** Why a watch has given up. */
  readonly error?: string | undefined
}

const none: Problem = {}

/** A job of the board. @internal */
export class Entry {
  private summary: JobSummary.JobSummary
  private cursor: Transition.Cursor | undefined
  /** The transitions, oldest first; of successive `Progressed` the last. */
  private readonly steps: Array<Step> = []
  private isAtProgress = false
  problem: Problem = none
  private encoded: string | undefined
  /** When the job is expected to end, in milliseconds since the epoch. */
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
    return !this.isWatched || Option.isSome(this.outcome) || this.problem.error !== undefined
  }

  changed(): void {
    this.encoded = undefined
  }

  /** Notes what a subscription has received. Returns whether the job has made a step. */
  note(notice: Notice, rules: DeriveRules): boolean {
    const hasMoved = notice._tag === "Sample" && this.derive(notice, rules)
    if (notice._tag === "Sample" || notice._tag === "Recovered") this.problem = none
    else if (notice._tag === "Trouble") {
      this.problem = { trouble: { message: messageOf(notice.error), since: DateTime.formatIso(notice.since) } }
    } else if (Exit.isFailure(notice.exit)) {
      this.problem = {
        error: Option.match(Cause.failureOption(notice.exit.cause), {
          onNone: () => "the watch died",
          onSome: messageOf
        })
      }
    }
    return hasMoved
  }

  private derive(sample: Sample, rules: DeriveRules): boolean {
    const derived = deriveFrom(this.cursor, sample, { ...rules, unrecognized: "end" })
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

  /** Everything that the board shows of the job. */
  get shown() {
    const { exact, inQueue, since } = this.summary
    return {
      job: Job.format(this.job),
      model: this.job.model,
      requestId: this.job.requestId,
      steps: this.steps,
      /** When the state began. */
      since: Option.getOrUndefined(Option.map(since, DateTime.formatIso)),
      /** The time in the queue before that, in milliseconds. */
      inQueue: Duration.toMillis(inQueue),
      /** Whether the service reported the times. */
      exact,
      expectedEnd: Option.getOrUndefined(this.expectedEnd),
      ...this.problem,
      isWatched: this.isWatched
    }
  }

  /** The same, encoded once for all pages. */
  get json(): string {
    return this.encoded ??= JSON.stringify(this.shown)
  }
}

/** A page that is open: what it has not been sent yet. @internal */
export interface Page {
  readonly changed: Set<Entry>
  readonly removed: Set<Entry>
  readonly news: Effect.Latch
}

/** The jobs that are watched, or were. @internal */
export class Jobs implements Observer<Job.JobRef> {
  private readonly entries = new Map<string, Entry>()
  /** How many jobs are watched. */
  private watched = 0
  readonly pages = new Set<Page>()

  constructor(
    private readonly maxJobs: number,
    private readonly eta: Learned["eta"],
    private readonly clockAhead: () => number
  ) {}

  /** The jobs, in the order in which they became known. */
  get all(): Iterable<Entry> {
    return this.entries.values()
  }

  /** How many jobs are watched, but are too many to show. */
  get hidden(): number {
    return this.watched - Array.from(this.all).filter(({ isWatched }) => isWatched).length
  }

  get(job: Job.JobRef): Entry | undefined {
    return this.entries.get(keyOf(job))
  }

  begin(job: Job.JobRef): Job.JobRef {
    this.watched++
    this.setWatched(this.getOrAdd(job), true)
    return job
  }

  onNotice(job: Job.JobRef, notice: Notice, rules: DeriveRules): Effect.Effect<void> | undefined {
    const entry = this.getOrAdd(job)
    if (entry === undefined) return undefined
    const { problem } = entry
    const hasMoved = entry.note(notice, rules)
    if (hasMoved || entry.problem !== problem) this.changed(entry)
    if (!hasMoved || notice._tag !== "Sample") return undefined
    return Effect.map(expectedEnd(this.eta, notice.status, this.clockAhead()), (end) => {
      entry.expectedEnd = end
      // it may have made room for a job of the same notices
      if (this.get(job) === entry) this.changed(entry)
    })
  }

  end(job: Job.JobRef): undefined {
    this.watched--
    this.setWatched(this.get(job), false)
  }

  private setWatched(entry: Entry | undefined, isWatched: boolean): void {
    if (entry === undefined) return
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
        // the job that takes its place is news for the pages
        for (const { changed, removed } of this.pages) {
          changed.delete(entry)
          removed.add(entry)
        }
        return true
      }
    }
    return false
  }

  private changed(entry: Entry): void {
    entry.changed()
    for (const { changed, news } of this.pages) {
      changed.add(entry)
      news.unsafeOpen()
    }
  }
}
