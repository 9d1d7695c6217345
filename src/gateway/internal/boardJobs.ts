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
import type { Rules } from "../../model/internal/rules.js"
import * as Job from "../../model/Job.js"
import * as JobSummary from "../../model/JobSummary.js"
import type { WatchError } from "../../model/QueueError.js"
import * as Transition from "../../model/Transition.js"
import type { Service as Learned } from "../../policy/LearnedCadence.js"
import type { Notice, Service as Watcher } from "../../watch/JobWatcher.js"
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
  /** When the job is expected to end, by our clock. */
  expectedEnd: DateTime.Utc | undefined
  /** How many subscriptions watch the job. */
  watches = 0

  constructor(readonly job: Job.JobRef) {
    this.summary = JobSummary.empty(job)
  }

  get outcome(): Option.Option<Transition.Terminal["_tag"]> {
    return this.summary.outcome
  }

  /** Whether nothing more is expected. */
  get isOver(): boolean {
    return this.watches === 0 || Option.isSome(this.outcome) || this.error !== undefined
  }

  changed(): void {
    this.encoded = undefined
  }

  /** Notes what a subscription has received. Returns whether the job has made a step, and whether anything is new. */
  note(notice: Notice, rules: Rules): { readonly hasMoved: boolean; readonly isNew: boolean } {
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

  private derive({ at, status }: Extract<Notice, { readonly _tag: "Sample" }>, rules: Rules): boolean {
    const derived = Transition.derive(Option.fromNullable(this.cursor), status, {
      observedAt: at,
      ...rules,
      unrecognized: "end"
    })
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
      expectedEnd: this.expectedEnd === undefined ? undefined : DateTime.formatIso(this.expectedEnd),
      trouble: this.trouble,
      error: this.error,
      isWatched: this.watches > 0
    })
  }
}

/** A page that follows the jobs. @internal */
export interface Follower {
  readonly changed: (entry: Entry) => void
  readonly removed: (entry: Entry) => void
}

/** The jobs that are watched, or were. @internal */
export class Jobs {
  private readonly entries = new Map<string, Entry>()
  private readonly watches = new Map<string, number>()
  readonly followers = new Set<Follower>()

  constructor(
    private readonly maxJobs: number,
    private readonly rules: Rules,
    private readonly learned: Option.Option<Learned>
  ) {}

  /** The jobs, in the order in which they became known. */
  get all(): Iterable<Entry> {
    return this.entries.values()
  }

  /** How many jobs are watched, but are too many to show. */
  get hidden(): number {
    let hidden = 0
    for (const key of this.watches.keys()) if (!this.entries.has(key)) hidden++
    return hidden
  }

  get(job: Job.JobRef): Entry | undefined {
    return this.entries.get(keyOf(job))
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

  /** Changes the number of subscriptions that watch a job. */
  private count(job: Job.JobRef, change: 1 | -1): void {
    const key = keyOf(job)
    const watches = (this.watches.get(key) ?? 0) + change
    if (watches > 0) this.watches.set(key, watches)
    else this.watches.delete(key)
    const entry = change > 0 ? this.getOrAdd(job) : this.get(job)
    if (entry === undefined) return
    entry.watches = watches
    this.changed(entry)
  }

  private note(notice: Notice): Effect.Effect<void> {
    const entry = this.getOrAdd(notice.watch.job)
    if (entry === undefined) return Effect.void
    entry.watches = this.watches.get(keyOf(notice.watch.job)) ?? 0
    const { hasMoved, isNew } = entry.note(notice, this.rules)
    if (isNew) this.changed(entry)
    if (!hasMoved || notice._tag !== "Sample" || Option.isNone(this.learned)) return Effect.void
    return Effect.map(this.learned.value.eta(notice.status), (eta) => {
      entry.expectedEnd = Option.getOrUndefined(
        Option.map(eta, ({ median }) => DateTime.addDuration(notice.at, median))
      )
      this.changed(entry)
    })
  }

  /** A watcher whose jobs are noted. It costs no request. */
  noting(watcher: Watcher): Watcher {
    return {
      ...watcher,
      subscribe: (options) =>
        Effect.gen(this, function*() {
          const watched = new Set<Job.JobRef>()
          const ended = (job: Job.JobRef) => {
            if (watched.delete(job)) this.count(job, -1)
          }
          yield* Effect.addFinalizer(() => Effect.sync(() => watched.forEach(ended)))
          const subscription = yield* watcher.subscribe(options)
          return {
            add: (job, from) =>
              Effect.tap(subscription.add(job, from), (isAdded) => {
                if (!isAdded) return
                watched.add(job)
                this.count(job, 1)
              }),
            next: Effect.tap(Effect.suspend(() => subscription.next), (notices) =>
              Effect.forEach(notices, (notice) => {
                if (notice._tag === "Ended") ended(notice.watch.job)
                return this.note(notice)
              }, { discard: true }))
          }
        })
    }
  }
}
