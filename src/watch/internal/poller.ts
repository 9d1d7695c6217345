/**
 * The record that a watcher keeps of a watched job and of its subscribers. There are many, so each field counts.
 */
import * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type { JobRef, JobStatus } from "../../model/Job.js"
import type { WatchError } from "../../model/QueueError.js"
import { Cursor } from "../../model/Transition.js"
import type { WatchPolicy } from "../../policy/WatchPolicy.js"
import type * as Fiber from "../../queue/internal/fiber.js"
import { DueQueue } from "./dueQueue.js"
import { isOlder, type JobState, type Trouble } from "./jobState.js"
import type { SubscribeOptions, Watch } from "./notice.js"
import type { Queued, QueueOrder } from "./queueOrder.js"

/** The end of a watch: the last snapshot, and a success or an error. Times are those of the watcher. @internal */
export interface Outcome {
  readonly job: JobRef
  readonly status: JobStatus | undefined
  readonly at: number
  /** `Exit.void` if the job has ended, else why the watch has. An effect that cancels the job first takes a while. */
  readonly exit: Effect.Effect<void, WatchError>
  /** The cursor before `status`. */
  readonly before: Cursor | undefined
}

/** Where the news of a subscriber's jobs go. @internal */
export interface Inbox {
  readonly options: SubscribeOptions
  readonly push: (subscriber: Subscriber) => void
}

/**
 * A watch of one subscription. It reads the state of its poller, or of the outcome, when it is ready to: nothing is queued
 * for it.
 * @internal
 */
export class Subscriber implements Watch {
  /** When the snapshot arrived that was taken last. */
  seenAt: number | undefined = undefined
  private known: Cursor | undefined
  /** The trouble that was reported last, until it passes. */
  trouble: Trouble | undefined = undefined
  /** Whether its news wait to be read, or the subscription has ended the watch. */
  state: "idle" | "pending" | "removed" = "idle"

  /**
   * @param source the poller, then the outcome of the watch
   * @param from the cursor that the watch began with, as long as the poller may know less
   */
  constructor(
    readonly inbox: Inbox,
    public source: Poller | Outcome,
    public from: Cursor | undefined,
    readonly startedAt: number
  ) {
    this.known = from
  }

  get job(): JobRef {
    return this.source.job
  }

  get cursor(): Cursor | undefined {
    return this.known
  }

  // mostly an equal cursor of the poller exists: one object is enough
  set cursor(cursor: Cursor | undefined) {
    const known = this.poller?.cursor
    this.known = known !== undefined && cursor !== undefined && Cursor.isSame(known, cursor) ? known : cursor
  }

  get policy(): WatchPolicy {
    return this.inbox.options.policy
  }

  get wants(): SubscribeOptions["wants"] {
    return this.inbox.options.wants
  }

  /** The poller while the watch lasts. */
  get poller(): Poller | undefined {
    return this.state !== "removed" && this.source instanceof Poller ? this.source : undefined
  }

  get outcome(): Outcome | undefined {
    return this.source instanceof Poller ? undefined : this.source
  }

  /**
   * Returns whether the source knows as much as the cursor that the watch began with, which is then forgotten. Of two
   * snapshots that differ in progress alone, that of a poll which ended after the subscriber came is taken for the later one.
   */
  catchUp(): boolean {
    const { from, source: { at, status }, startedAt } = this
    if (from === undefined) return true
    const older = status === undefined || isOlder(from, status)
    if (older === true || (older === "unknown" && at < startedAt)) return false
    this.from = undefined
    return true
  }

  /** Whether a new subscriber finds something at once, since the job is or was watched by others. */
  get hasNews(): boolean {
    const { poller } = this
    if (poller === undefined) return true
    return this.wants !== "end" && (poller.trouble !== undefined || poller.status !== undefined)
  }

  notify(): void {
    if (this.state !== "idle") return
    this.state = "pending"
    this.inbox.push(this)
  }
}

/** Whether subscribers of the two policies poll and retry in the same way. @internal */
export const isSameGroup = (a: WatchPolicy, b: WatchPolicy): boolean =>
  a.cadence === b.cadence && a.retry === b.retry && Duration.equals(a.deadline.request, b.deadline.request)

/** What a group or a poller seldom has: kept outside of its record. */
class Rare {
  next: PollGroup | undefined = undefined
  retry: { readonly state: unknown; readonly at: number } | undefined = undefined
  step: Fiber.Fiber<unknown, unknown> | undefined = undefined
  trouble: Trouble | undefined = undefined
  confirmingSince: number | undefined = undefined
}

/**
 * The subscribers of a job that poll and retry in the same way. Most jobs have one group: the poller itself is the first,
 * and the others are a linked list.
 * @internal
 */
export class PollGroup {
  state: unknown
  followers = 0
  protected rare: Rare | undefined = undefined

  /**
   * @param clockShift how far the wall clock has been set when the group began, and, from its first pause on, how far the
   * service's clock was ahead of it
   */
  constructor(public policy: WatchPolicy, public clockShift: number) {
    this.state = policy.cadence.initial
  }

  /** Begins anew, with one follower. */
  begin(policy: WatchPolicy, clockShift: number): this {
    this.policy = policy
    this.clockShift = clockShift
    this.state = policy.cadence.initial
    this.retry = undefined
    this.followers = 1
    return this
  }

  protected setRare<K extends keyof Rare>(key: K, value: Rare[K]): void {
    if (this.rare === undefined && value === undefined) return
    this.rare ??= new Rare()
    this.rare[key] = value
  }

  get next(): PollGroup | undefined {
    return this.rare?.next
  }

  set next(next: PollGroup | undefined) {
    this.setRare("next", next)
  }

  /** While there is trouble: the state of the retry schedule, and the time of its next try, `Infinity` until that is known. */
  get retry(): Rare["retry"] {
    return this.rare?.retry
  }

  set retry(retry: Rare["retry"]) {
    this.setRare("retry", retry)
  }

  /** The step of a schedule that has not ended yet. */
  get step(): Rare["step"] {
    return this.rare?.step
  }

  set step(step: Rare["step"]) {
    this.setRare("step", step)
  }
}

/**
 * A watched job and its subscribers. Times are in milliseconds since the watcher was made: V8 stores small integers
 * without an object of their own.
 * @internal
 */
export class Poller extends PollGroup implements JobState, Queued {
  cursor: Cursor | undefined = undefined
  status: JobStatus | undefined = undefined
  at = 0
  unchangedSince = 0

  /** The number of requests so far. */
  polls = 0
  /** When the newest request was sent. */
  sentAt: number | undefined = undefined
  /** The shortest pause of the groups' cadences; 0 before the first one. */
  pause = 0
  /** How often the job is polled, once that is known. */
  period: number | undefined = undefined
  /** What runs for the poller: its request, or the wait until stopped requests have ended. */
  fiber: Fiber.Fiber | undefined = undefined
  /** The index in the queue of its phase; -1 when idle. */
  slot = -1
  /** The index in the queue of deadlines. */
  deadlineSlot = -1
  queueSlot = -1

  private subscribers: Subscriber | Set<Subscriber> | undefined = undefined

  constructor(
    readonly job: JobRef,
    public order: QueueOrder<Poller>,
    policy: WatchPolicy,
    clockShift: number
  ) {
    super(policy, clockShift)
  }

  get trouble(): Trouble | undefined {
    return this.rare?.trouble
  }

  set trouble(trouble: Trouble | undefined) {
    this.setRare("trouble", trouble)
  }

  /** When a poll was first needed to confirm that a deadline has passed, until that poll has ended. */
  get confirmingSince(): number | undefined {
    return this.rare?.confirmingSince
  }

  set confirmingSince(since: number | undefined) {
    this.setRare("confirmingSince", since)
  }

  /**
   * - `idle`: no schedule has returned the next pause yet, or a stopped request has not ended yet (`fiber`).
   * - `scheduled`: the next poll is due at the cadence; `retrying`: after an error.
   * - `inFlight`: a request is on its way.
   */
  get phase(): "idle" | "scheduled" | "retrying" | "inFlight" {
    // not a field, to save memory: in a queue, only a request has a fiber, and only a retry has trouble
    if (this.slot === -1) return "idle"
    if (this.fiber !== undefined) return "inFlight"
    return this.trouble === undefined ? "scheduled" : "retrying"
  }

  /** Whether a poll may be planned, or is. */
  get isPlannable(): boolean {
    return this.phase === "idle" ? this.fiber === undefined : this.phase !== "inFlight"
  }

  get isWatched(): boolean {
    return this.subscribers !== undefined
  }

  get subscriberCount(): number {
    return this.subscribers === undefined ? 0 : this.subscribers instanceof Set ? this.subscribers.size : 1
  }

  add(subscriber: Subscriber): void {
    if (this.subscribers === undefined) this.subscribers = subscriber
    else if (this.subscribers instanceof Set) this.subscribers.add(subscriber)
    else this.subscribers = new Set([this.subscribers, subscriber])
  }

  /** Removes a subscriber. Returns the step of a schedule that no other subscriber waits for. */
  remove(subscriber: Subscriber): PollGroup["step"] {
    if (this.subscribers === subscriber) this.subscribers = undefined
    else if (this.subscribers instanceof Set) {
      this.subscribers.delete(subscriber)
      if (this.subscribers.size === 0) this.subscribers = undefined
    }
    return this.leave(subscriber.policy)
  }

  /** The shortest request timeout of the groups, in milliseconds. */
  get requestTimeout(): number {
    let timeout = Infinity
    for (const { policy } of this.groups) timeout = Math.min(timeout, Duration.toMillis(policy.deadline.request))
    return timeout
  }

  /** The groups that have followers. */
  get groups(): ReadonlyArray<PollGroup> {
    const groups: Array<PollGroup> = this.followers > 0 ? [this] : []
    for (let group = this.next; group !== undefined; group = group.next) groups.push(group)
    return groups
  }

  /** Adds a follower. Returns its group if that is new. A poller that was not watched goes on with its group. */
  join(policy: WatchPolicy, clockShift: number): PollGroup | undefined {
    const { groups } = this
    const known = (groups.length === 0 ? [this] : groups).find((group) => isSameGroup(group.policy, policy))
    if (known !== undefined) {
      known.followers++
      return undefined
    }
    if (this.followers === 0) return this.begin(policy, clockShift)
    const group = new PollGroup(policy, clockShift)
    group.followers = 1
    group.next = this.next
    return this.next = group
  }

  private leave(policy: WatchPolicy): PollGroup["step"] {
    const group = this.groups.find((group) => isSameGroup(group.policy, policy))
    if (group === undefined || --group.followers > 0) return undefined
    for (const before of [this, ...this.groups]) if (before.next === group) before.next = group.next
    const { step } = group
    group.step = undefined
    return step
  }

  each(f: (subscriber: Subscriber) => void): void {
    if (this.subscribers instanceof Set) this.subscribers.forEach(f)
    else if (this.subscribers !== undefined) f(this.subscribers)
  }

  outcome(exit: Outcome["exit"]): Outcome {
    const { at, cursor, job, status } = this
    return { job, status, at, before: cursor, exit }
  }
}

/** A queue of the pollers that are in one phase. @internal */
export const makeQueue = (): DueQueue<Poller> =>
  new DueQueue((poller, slot) => {
    poller.slot = slot
  })
