/**
 * The pending jobs of a model in the order in which the service promises to start them: by priority, then by submission.
 * While that order holds, only the jobs at its head need frequent polls.
 */
import * as Option from "effect/Option"
import type { JobRef, JobStatus } from "../../model/Job.js"
import { DueQueue } from "./dueQueue.js"
import type { ModelMetrics } from "./metrics.js"

/** @internal */
export const headLength = 3

/** @internal */
export const priorityOf = (status: JobStatus): number => Option.getOrElse(status.priority, () => 0)

const createdAt = ({ createdAt }: JobStatus): number => Option.isSome(createdAt) ? createdAt.value.epochMillis : 0

/**
 * The promised order. The service orders neither jobs of one millisecond nor a job without a time of submission.
 * @internal
 */
export const compare = (a: JobStatus, b: JobStatus): number =>
  priorityOf(b) - priorityOf(a) || createdAt(a) - createdAt(b)

/** The part of a poller that the order reads. Times are of the same clock. @internal */
export interface Queued {
  readonly status: JobStatus | undefined
  /** When the status arrived. */
  readonly at: number
  /** When the newest request was sent. */
  readonly sentAt: number | undefined
  readonly unchangedSince: number
  readonly job: JobRef
  /** The index among the jobs behind the head; -1 at the head, and outside of the order. */
  queueSlot: number
}

// jobs in the order are pending, and so have a status
const comparePollers = (a: Queued, b: Queued): number => compare(a.status!, b.status!)

// the service makes ids that grow with time
const isBefore = (a: Queued, b: Queued): boolean => {
  const order = comparePollers(a, b)
  return order < 0 || (order === 0 && a.job.requestId < b.job.requestId)
}

/** @internal */
export const isOrdered = (status: JobStatus): boolean => status._tag === "Pending" && Option.isSome(status.createdAt)

const isClaimed = ({ _tag }: JobStatus): boolean => _tag === "Running" || _tag === "Done" || _tag === "Failed"

/** All pollers of one model, and the order of those whose jobs are pending. @internal */
export class QueueOrder<P extends Queued> {
  readonly pollers = new Map<string, P>()
  private heads: Array<P> = []
  /** When a job from behind one of the head was first seen claimed. */
  private readonly overtakenAt = new Map<P, number>()
  /** The service's order alone decides here: no job is due at a time. */
  private readonly behind = new DueQueue<P>((poller, slot) => {
    poller.queueSlot = slot
  }, isBefore)

  /**
   * @param isEnabled whether the order is assumed to hold
   * @param onHead a job came to the head, or the head needs another look
   * @param onBehind a job moved from the head to behind it
   */
  constructor(
    readonly model: string,
    readonly metrics: ModelMetrics,
    private isEnabled: boolean,
    private readonly onHead: (poller: P) => void,
    private readonly onBehind: (poller: P) => void
  ) {}

  isBehind(poller: P): boolean {
    return poller.queueSlot !== -1
  }

  /** The jobs behind the head, in no particular order. */
  get behindHead(): ReadonlyArray<P> {
    return this.behind.all
  }

  /** Counts jobs in a state. */
  count(status: JobStatus | undefined, by: number): void {
    if (status?._tag === "Pending") this.metrics.queueDepth.unsafeModify(by, [])
    else if (status?._tag === "Running") this.metrics.running.unsafeModify(by, [])
  }

  /** The job is about to have another status. */
  beforeChange(poller: P, status: JobStatus, now: number): void {
    const before = poller.status
    if (before?._tag !== status._tag) {
      this.count(before, -1)
      this.count(status, 1)
    }
    if (before === undefined || !(this.isBehind(poller) || this.heads.includes(poller))) return
    if (isOrdered(status) && compare(before, status) === 0) return
    this.leave(poller)
    if (isClaimed(status)) this.detectOvertaking(poller, now)
  }

  /** The job has its status now. Returns whether the order may still hold. */
  afterChange(poller: P): boolean {
    if (!this.isEnabled || poller.status === undefined || !isOrdered(poller.status) || this.isBehind(poller)) {
      return true
    }
    const overtakenAt = this.overtakenAt.get(poller)
    if (!this.heads.includes(poller)) this.enter(poller)
    else if (overtakenAt !== undefined && poller.sentAt !== undefined && poller.sentAt >= overtakenAt) {
      // the request was sent after a job from behind was claimed, and this job was in the queue all that time
      if (poller.unchangedSince < overtakenAt) return false
      this.overtakenAt.delete(poller)
    }
    return true
  }

  /** The job does not wait any more, or is no longer watched. */
  leave(poller: P): void {
    if (this.isBehind(poller)) return this.behind.remove(poller.queueSlot)
    if (!this.heads.includes(poller)) return
    this.removeHead(poller)
    const next = this.behind.pop()
    if (next !== undefined) {
      this.heads.push(next)
      this.onHead(next)
    }
  }

  /** The order does not hold: from now on every job is polled at its cadence. Returns the jobs in order so far. */
  disable(): ReadonlyArray<P> {
    const all = this.heads
    for (let next = this.behind.pop(); next !== undefined; next = this.behind.pop()) all.push(next)
    this.heads = []
    this.overtakenAt.clear()
    this.isEnabled = false
    return all
  }

  private enter(poller: P): void {
    const index = this.heads.findIndex((head) => isBefore(poller, head))
    if (index === -1 && this.heads.length >= headLength) return this.behind.add(poller, 0)
    this.heads.splice(index === -1 ? this.heads.length : index, 0, poller)
    if (this.heads.length <= headLength) return
    const last = this.heads.at(-1)!
    this.removeHead(last)
    this.behind.add(last, 0)
    this.onBehind(last)
  }

  private removeHead(poller: P): void {
    this.heads = this.heads.filter((head) => head !== poller)
    this.overtakenAt.delete(poller)
  }

  // jobs that were ahead of the claimed job when it was last seen pending should be claimed as well
  private detectOvertaking(claimed: P, now: number): void {
    for (const head of this.heads) {
      const isAhead = comparePollers(head, claimed) < 0 && head.unchangedSince <= claimed.at
      if (isAhead && !this.overtakenAt.has(head)) {
        this.overtakenAt.set(head, now)
        this.onHead(head)
      }
    }
  }
}
