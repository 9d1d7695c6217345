/**
 * The deadlines of all subscribers: when each passes, and whether one more poll must confirm that.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { shortestPause } from "../../policy/internal/pauses.js"
import type { Service as JobQueueService } from "../../queue/JobQueue.js"
import { DueQueue } from "./dueQueue.js"
import { cancelThenFail, confirmTimeoutOf, type Expiry, nextExpiry, requestTimeoutOf } from "./expiry.js"
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
    private readonly jobQueue: Pick<JobQueueService, "cancel">,
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
    return this.queue.timeOf(poller.deadlineSlot)
  }

  /** Adds the deadlines of a new subscriber. */
  add(poller: Poller, subscriber: Subscriber): void {
    const { at } = this.expiryOf(poller, subscriber)
    if (at < this.of(poller)) this.set(poller, at)
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
   *
   * An expiry is reported only after a poll that was sent after it, or while the last snapshot is younger than one cadence,
   * counted from its request: in a suspended process a response waits to be read. Otherwise the job may have moved long ago,
   * where polls failed, had to wait, or the process was suspended.
   */
  check(poller: Poller, pausedUntil: number, now: number): number {
    const { sentAt, status, trouble } = poller
    const since = poller.confirmingSince ?? now
    const endedAt = Math.max(sentAt ?? 0, poller.at, trouble?.at ?? 0)
    const isFresh = status !== undefined && now <= Math.min(poller.at, sentAt ?? 0) + poller.pause
    // no poll comes before the service allows it
    const confirmAt = Math.max(now, pausedUntil, trouble?.notBefore ?? 0, endedAt + shortestPause)
    let pollAt = Infinity
    poller.each((subscriber) => {
      const { policy: { deadline } } = subscriber
      const expiry = this.expiryOf(poller, subscriber)
      if (expiry.at > now) return
      const timeout = confirmTimeoutOf(deadline)
      const isConfirmed = isFresh || (sentAt !== undefined && sentAt >= expiry.at)
      if (!isConfirmed && confirmAt < since + timeout) {
        pollAt = confirmAt
        return
      }
      const state = this.stateOf(poller, subscriber)
      // without a response, the confirming poll has timed out
      const lastError = poller.phase === "inFlight" && now >= since + timeout
        ? requestTimeoutOf(poller.job, timeout)
        : trouble?.error
      const error = new expiry.error({
        job: poller.job,
        after: expiry.after,
        ...JobState.lastSeen(state, now),
        ...(lastError !== undefined && { lastError })
      })
      const exit = deadline.onExpiry === "cancel-pending" && state.cursor?.phase !== "Running"
        ? cancelThenFail(error, Effect.suspend(() => this.jobQueue.cancel(poller.job)), deadline, now - endedAt)
        : Exit.fail(error)
      this.end(poller, subscriber, poller.outcome(exit))
    })
    poller.confirmingSince = pollAt === Infinity ? undefined : since
    if (poller.isWatched) this.refresh(poller)
    return pollAt
  }

  private set(poller: Poller, at: number): void {
    if (at === Infinity) this.queue.remove(poller.deadlineSlot)
    else if (poller.deadlineSlot === -1) this.queue.add(poller, at)
    else if (at !== this.of(poller)) this.queue.move(poller.deadlineSlot, at)
  }

  private expiryOf(poller: Poller, subscriber: Subscriber): Expiry {
    return nextExpiry(subscriber.startedAt, this.stateOf(poller, subscriber), subscriber.policy.deadline)
  }

  private stateOf(poller: Poller, subscriber: Subscriber): JobState.JobState {
    return subscriber.catchUp() ? poller : JobState.make(subscriber.from, subscriber.startedAt)
  }
}
