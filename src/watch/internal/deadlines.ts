/**
 * The deadlines of all subscribers: when each passes, and whether one more poll must confirm that.
 */
import * as Duration from "effect/Duration"
import { DueQueue } from "./dueQueue.js"
import type { Executor } from "./executor.js"
import { confirmAt, confirmTimeoutOf, type Expiry, nextExpiry } from "./expiry.js"
import { requestTimeoutOf, troubleOf } from "./expiryErrors.js"
import * as JobState from "./jobState.js"
import type { Outcome, Poller, Subscriber } from "./poller.js"

/** @internal */
export class Deadlines {
  private readonly queue = new DueQueue<Poller>((poller, slot) => {
    poller.deadlineSlot = slot
  })

  /**
   * @param end ends the watch of a subscriber
   */
  constructor(
    private readonly executor: Executor,
    private readonly end: (poller: Poller, subscriber: Subscriber, outcome: Outcome) => void
  ) {}

  get nextAt(): number {
    return this.queue.firstTime
  }

  /** The poller whose deadline passes first. */
  get first(): Poller | undefined {
    return this.queue.first
  }

  /** When the first deadline of a poller passes; `Infinity` if it has none. */
  of(poller: Poller): number {
    return poller.deadlineSlot === -1 ? Infinity : this.queue.timeOf(poller.deadlineSlot)
  }

  /** Adds the deadlines of a new subscriber. */
  add(poller: Poller, subscriber: Subscriber): void {
    const { at } = this.expiryOf(poller, subscriber)
    if (at < this.queue.timeOf(poller.deadlineSlot)) this.set(poller, at)
  }

  /** The job has moved: its deadlines count from now. */
  refresh(poller: Poller): void {
    const { confirmingSince } = poller
    let at = Infinity
    poller.each((subscriber) => {
      const expiry = this.expiryOf(poller, subscriber)
      const until = confirmingSince === undefined || expiry.at > confirmingSince
        ? expiry.at
        : confirmingSince + confirmTimeoutOf(subscriber.policy.deadline)
      at = Math.min(at, until)
    })
    this.set(poller, at)
  }

  remove(poller: Poller): void {
    this.queue.remove(poller.deadlineSlot)
    poller.confirmingSince = undefined
  }

  /**
   * Ends the watches whose deadlines have passed. Returns when to poll for those that need a confirmation first; `Infinity`
   * if there are none.
   */
  check(poller: Poller, pausedUntil: number, now: number): number {
    const { status, trouble } = poller
    const since = poller.confirmingSince ?? now
    const endedAt = Math.max(poller.sentAt ?? 0, poller.at, trouble?.at ?? 0)
    const polled = {
      sentAt: poller.sentAt,
      endedAt,
      freshUntil: status === undefined ? -Infinity : poller.at + poller.pause,
      notBefore: Math.max(pausedUntil, trouble?.notBefore ?? 0)
    }
    let pollAt = Infinity
    poller.each((subscriber) => {
      const expiry = this.expiryOf(poller, subscriber)
      if (expiry.at > now) return
      const timeout = confirmTimeoutOf(subscriber.policy.deadline)
      const at = confirmAt(expiry, polled, now, since + timeout)
      if (at !== undefined) {
        pollAt = Math.min(pollAt, at)
        return
      }
      const known = {
        state: this.inMonotonicTime(this.stateOf(poller, subscriber)),
        // without a response, the confirming poll has timed out
        trouble: poller.phase === "inFlight" && now >= since + timeout
          ? troubleOf(trouble, requestTimeoutOf(poller.job, Duration.millis(timeout)), now)
          : trouble,
        endedAt: this.executor.epoch + endedAt
      }
      this.end(poller, subscriber, poller.outcome({ _tag: "Expired", expiry, known }))
    })
    poller.confirmingSince = pollAt === Infinity ? undefined : since
    return pollAt
  }

  private set(poller: Poller, at: number): void {
    if (at === Infinity) this.queue.remove(poller.deadlineSlot)
    else if (poller.deadlineSlot === -1) this.queue.add(poller, at)
    else if (at !== this.queue.timeOf(poller.deadlineSlot)) this.queue.move(poller.deadlineSlot, at)
  }

  private expiryOf(poller: Poller, subscriber: Subscriber): Expiry {
    return nextExpiry(subscriber.startedAt, this.stateOf(poller, subscriber), subscriber.policy.deadline)
  }

  // A subscriber that began with a cursor may know more than the poller. Of two snapshots that differ in progress alone, that
  // of a poll which ended after the subscriber came is taken for the later one.
  private stateOf(poller: Poller, subscriber: Subscriber): JobState.JobState {
    const { from, startedAt } = subscriber
    if (from === undefined) return poller
    const { at, status } = poller
    const isOlder = status === undefined || JobState.isOlder(from, status)
    if (isOlder === true || (isOlder === "unknown" && at < startedAt)) return JobState.make(from, startedAt)
    subscriber.from = undefined
    return poller
  }

  private inMonotonicTime({ at, cursor, status, unchangedSince }: JobState.JobState): JobState.JobState {
    const { epoch } = this.executor
    return { cursor, status, at: epoch + at, unchangedSince: epoch + unchangedSince }
  }
}
