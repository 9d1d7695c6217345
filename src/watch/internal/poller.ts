/**
 * What a watcher keeps of a job that is watched, and of those who watch it: as little as will do, since there are many.
 *
 * @internal
 */
import type * as Cause from "effect/Cause"
import type { RuntimeFiber } from "effect/Fiber"
import type { JobRef, JobStatus } from "../../model/Job.js"
import type { WatchError } from "../../model/QueueError.js"
import type { Cursor } from "../../model/Transition.js"
import type { Cadence } from "../../policy/Cadence.js"
import type * as Pacer from "../../policy/internal/scheduleDriver.js"
import type { WatchPolicy } from "../../policy/WatchPolicy.js"
import type { Expiry } from "./expiry.js"
import type { Known, Trouble } from "./expiryErrors.js"
import type { JobState } from "./jobState.js"
import type { Line, Waiting } from "./queueOrder.js"

/**
 * A deadline of one subscriber has passed; what was known of the job then.
 *
 * @internal
 */
export interface Expired {
  readonly _tag: "Expired"
  readonly expiry: Expiry
  readonly known: Known
}

/**
 * How a watch ends: the last snapshot that is to be told, if it has not been, and then an error, if there is one. Times
 * are those of the watcher.
 *
 * @internal
 */
export interface End {
  readonly job: JobRef
  readonly status: JobStatus | undefined
  readonly at: number
  readonly version: number
  readonly error: Cause.Cause<WatchError> | Expired | undefined
  /** What was known of the job before `status`. */
  readonly before: Cursor | undefined
}

/**
 * One who watches a job. What there is to see is state, of the poller or of the end: nobody has to keep up.
 *
 * @internal
 */
export abstract class Subscriber {
  /** The poller while the watch lasts, then its end. */
  source: Poller | End | undefined = undefined
  /** The version of the snapshot that was looked at last. */
  seen = 0
  startedAt = 0
  /** What it knew when it began, as long as its poller knows less. */
  from: Cursor | undefined = undefined

  /** The trouble that it knows of. */
  abstract readonly trouble: Trouble | undefined
  abstract readonly policy: WatchPolicy
  /** What is worth a notice: every poll that was answered, every change, or the end alone. */
  abstract readonly wants: "polls" | "changes" | "end"
  /** There is something new to look at. */
  abstract notify(): void

  get poller(): Poller | undefined {
    return this.source instanceof Poller ? this.source : undefined
  }

  get end(): End | undefined {
    return this.source instanceof Poller ? undefined : this.source
  }

  /** Whether there is something new to look at from the beginning, from others who watch the job or did. */
  get hasNews(): boolean {
    const { poller } = this
    if (poller === undefined) return this.source !== undefined
    return this.wants !== "end" && (poller.trouble !== undefined || poller.version !== this.seen)
  }

  /** The snapshot that was not looked at yet, if there is one; now it is. */
  look(): { readonly status: JobStatus; readonly at: number } | undefined {
    const { source } = this
    if (source?.status === undefined || source.version === this.seen) return undefined
    this.seen = source.version
    return { status: source.status, at: source.at }
  }
}

/**
 * Those watchers of a job who poll and try again in the same way. Most jobs have one such pace: the poller is the first,
 * and the others are a list.
 *
 * @internal
 */
export class Pace implements Pacer.Beat {
  cadence: Cadence
  state: unknown
  /** Where the retry is, and when it wants to try again, while there is trouble. */
  retry: { readonly state: unknown; readonly at: number } | undefined = undefined
  followers = 0
  next: Pace | undefined = undefined

  /**
   * @param wallOffset how far the wall clock was ahead of the monotonic time when the pace began
   */
  constructor(public policy: WatchPolicy, public wallOffset: number) {
    this.cadence = policy.cadence
    this.state = policy.cadence.initial
  }

  fits({ cadence, deadline, retry }: WatchPolicy): boolean {
    return this.policy.cadence === cadence && this.policy.retry === retry &&
      this.policy.deadline.request === deadline.request
  }

  /** One more follower; the pace, if it is a new one for this job. */
  join(policy: WatchPolicy, wallOffset: number): Pace | undefined {
    if (this.fits(policy)) {
      this.followers++
      return undefined
    }
    if (this.followers === 0) {
      Object.assign(this, new Pace(policy, wallOffset), { followers: 1 })
      return this
    }
    if (this.next !== undefined) return this.next.join(policy, wallOffset)
    this.next = new Pace(policy, wallOffset)
    this.next.followers = 1
    return this.next
  }

  /** This pace and those after it. */
  get paces(): ReadonlyArray<Pace> {
    const paces: Array<Pace> = [this]
    for (let pace = this.next; pace !== undefined; pace = pace.next) paces.push(pace)
    return paces
  }

  /** One follower less. */
  leave(policy: WatchPolicy): void {
    if (!this.fits(policy)) {
      this.next?.leave(policy)
      if (this.next?.followers === 0) this.next = this.next.next
    } else if (--this.followers === 0 && this.next !== undefined) {
      const { cadence, followers, next, policy, retry, state, wallOffset } = this.next
      Object.assign(this, { cadence, followers, next, policy, retry, state, wallOffset })
    }
  }
}

/**
 * A job that is watched, by however many. Times are in milliseconds since the watcher began: small numbers take no room of
 * their own.
 *
 * @internal
 */
export class Poller extends Pace implements JobState, Waiting {
  cursor: Cursor | undefined = undefined
  status: JobStatus | undefined = undefined
  at = 0
  unchangedSince = 0
  version = 0
  trouble: Trouble | undefined = undefined

  /** When the last request was sent; -1 before the first one. */
  sentAt = -1
  /** Since when a poll is awaited, before a deadline that has passed is reported; -1 when none is. */
  lookSince = -1
  /** The pause by the keenest cadence, and how often that is: 0 while it is not known. */
  pause = 0
  period = 0
  fiber: RuntimeFiber<void> | undefined = undefined
  /** Where it is among those that wait, from 0 on, or among those that ask, from -2 down; -1 when it is with neither. */
  slot = -1
  /** Where it is among those with a deadline. */
  expirySlot = -1
  /** Where it is in the line of its model, behind the head; -1 when it is not in line, -2 when it is at the head. */
  lineSlot = -1

  subscribers: Subscriber | Set<Subscriber> | undefined = undefined

  constructor(
    readonly job: JobRef,
    public line: Line<Poller>,
    readonly turn: number,
    policy: WatchPolicy,
    wallOffset: number
  ) {
    super(policy, wallOffset)
  }

  get watchers(): number {
    return this.subscribers === undefined ? 0 : this.subscribers instanceof Set ? this.subscribers.size : 1
  }

  add(subscriber: Subscriber): void {
    if (this.subscribers === undefined) this.subscribers = subscriber
    else if (this.subscribers instanceof Set) this.subscribers.add(subscriber)
    else this.subscribers = new Set([this.subscribers, subscriber])
  }

  remove(subscriber: Subscriber): void {
    if (this.subscribers === subscriber) this.subscribers = undefined
    else if (this.subscribers instanceof Set) {
      this.subscribers.delete(subscriber)
      if (this.subscribers.size === 0) this.subscribers = undefined
    }
  }

  each(f: (subscriber: Subscriber) => void): void {
    if (this.subscribers instanceof Set) this.subscribers.forEach(f)
    else if (this.subscribers !== undefined) f(this.subscribers)
  }
}
