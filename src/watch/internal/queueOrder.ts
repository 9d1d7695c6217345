/**
 * The pending jobs of a model in the order in which the service promises to start them: by priority, and those of one
 * priority in order of submission. While that order holds, only the head of the line is worth looking at.
 *
 * @internal
 */
import * as Option from "effect/Option"
import type { JobStatus } from "../../model/Job.js"
import { Heap } from "./heap.js"
import type { LineMetrics } from "./metrics.js"

/** @internal */
export const headLength = 3

const priorityOf = (status: JobStatus): number => Option.getOrElse(status.priority, () => 0)

const createdAt = ({ createdAt }: JobStatus): number => Option.isSome(createdAt) ? createdAt.value.epochMillis : 0

/** By what the service tells: jobs of one millisecond, and one of which it did not tell, are neither before nor behind. */
const compare = (a: JobStatus, b: JobStatus): number => priorityOf(b) - priorityOf(a) || createdAt(a) - createdAt(b)

/**
 * What a job must have to be in a line. Times are of the same clock.
 *
 * @internal
 */
export interface Waiting {
  readonly status: JobStatus | undefined
  /** When the status was taken, and when the newest request was sent. */
  readonly at: number
  readonly sentAt: number
  readonly unchangedSince: number
  /** Which of two jobs was watched first, where the service does not order them. */
  readonly turn: number
  /** Where it is behind the head; -1 when it is not in line, -2 when it is at the head. */
  lineSlot: number
}

// Only what is pending is in line, and that has a status.
const comparePollers = (a: Waiting, b: Waiting): number => compare(a.status!, b.status!)

const isBefore = (a: Waiting, b: Waiting): boolean => (comparePollers(a, b) || a.turn - b.turn) < 0

interface Head<P> {
  readonly poller: P
  /** When a job from behind it was seen claimed; 0 when none was. */
  overtakenAt: number
}

const inLine = (status: JobStatus): boolean => status._tag === "Pending" && Option.isSome(status.createdAt)

const isClaimed = ({ _tag }: JobStatus): boolean => _tag === "Running" || _tag === "Done" || _tag === "Failed"

/**
 * All the pollers of one model, and the line of those whose job is pending.
 *
 * @internal
 */
export class Line<P extends Waiting> {
  readonly pollers = new Map<string, P>()
  pending = 0
  private heads: Array<Head<P>> = []
  private rest = this.emptyRest()

  /**
   * @param holds whether the order is taken to hold
   * @param toHead is told that a job has come to the head, or that the head should be looked at again
   * @param behind is told that a job was moved behind the head
   */
  constructor(
    readonly model: string,
    readonly metrics: LineMetrics,
    public holds: boolean,
    private readonly toHead: (poller: P) => void,
    private readonly behind: (poller: P) => void
  ) {}

  private emptyRest(): Heap<P> {
    return new Heap<P>(isBefore, (poller, index) => {
      poller.lineSlot = index
    })
  }

  /** The job is about to have another status. */
  willBe(poller: P, status: JobStatus, now: number): void {
    const before = poller.status
    if (before === undefined || poller.lineSlot === -1) return
    if (inLine(status) && compare(before, status) === 0) return
    this.leave(poller)
    if (isClaimed(status)) this.overtook(poller, now)
  }

  /** The job has its status. `false` when that shows that the order does not hold. */
  is(poller: P): boolean {
    if (!this.holds || poller.status === undefined || !inLine(poller.status)) return true
    if (poller.lineSlot === -1) this.enter(poller)
    else if (poller.lineSlot === -2) {
      const head = this.heads.find((head) => head.poller === poller)
      if (head !== undefined && head.overtakenAt > 0 && poller.sentAt >= head.overtakenAt) {
        // it was asked for after a job from behind was claimed, and has been in the queue all the time
        if (poller.unchangedSince < head.overtakenAt) return false
        head.overtakenAt = 0
      }
    }
    return true
  }

  /** The job does not wait any more, or is not watched. */
  leave(poller: P): void {
    if (poller.lineSlot >= 0) return this.rest.remove(poller.lineSlot)
    if (poller.lineSlot === -1) return
    poller.lineSlot = -1
    this.heads = this.heads.filter((head) => head.poller !== poller)
    const next = this.rest.pop()
    if (next !== undefined) {
      next.lineSlot = -2
      this.heads.push({ poller: next, overtakenAt: 0 })
      this.toHead(next)
    }
  }

  /** The jobs that are behind the head, in no order. */
  get behindHead(): ReadonlyArray<P> {
    return this.rest.all
  }

  /** The order does not hold: from now on every job is for itself. All that were in line. */
  dissolve(): ReadonlyArray<P> {
    const all = this.heads.map(({ poller }) => poller)
    for (let next = this.rest.pop(); next !== undefined; next = this.rest.pop()) all.push(next)
    for (const poller of all) poller.lineSlot = -1
    this.heads = []
    this.holds = false
    return all
  }

  private enter(poller: P): void {
    const index = this.heads.findIndex((head) => isBefore(poller, head.poller))
    if (index === -1 && this.heads.length >= headLength) return this.rest.push(poller)
    poller.lineSlot = -2
    this.heads.splice(index === -1 ? this.heads.length : index, 0, { poller, overtakenAt: 0 })
    if (this.heads.length <= headLength) return
    const last = this.heads.pop()!.poller
    this.rest.push(last)
    this.behind(last)
  }

  // Whatever is still before a job that was claimed, and was so when that one was last seen waiting, should be claimed too.
  private overtook(claimed: P, now: number): void {
    for (const head of this.heads) {
      if (
        head.overtakenAt === 0 && comparePollers(head.poller, claimed) < 0 && head.poller.unchangedSince <= claimed.at
      ) {
        head.overtakenAt = now
        this.toHead(head.poller)
      }
    }
  }
}
