/**
 * The pending jobs of a model in the order in which the service promises to start them: by priority, and those of one
 * priority in order of submission. While that order holds, only the head of the line is worth looking at.
 *
 * @internal
 */
import * as Option from "effect/Option"
import type { JobStatus } from "../../Job.js"
import { Heap } from "../heap.js"
import type { LineMetrics } from "./metrics.js"
import type { Poller } from "./records.js"

/** @internal */
export const headLength = 3

const priorityOf = (status: JobStatus): number => Option.getOrElse(status.priority, () => 0)

const createdAt = ({ createdAt }: JobStatus): number => Option.isSome(createdAt) ? createdAt.value.epochMillis : 0

/** By what the service tells: jobs of one millisecond, and one of which it did not tell, are neither before nor behind. */
const compare = (a: JobStatus, b: JobStatus): number => priorityOf(b) - priorityOf(a) || createdAt(a) - createdAt(b)

// Only what is pending is in line, and that has a status.
const comparePollers = (a: Poller, b: Poller): number => compare(a.status!, b.status!)

const isBefore = (a: Poller, b: Poller): boolean => (comparePollers(a, b) || a.turn - b.turn) < 0

interface Head {
  readonly poller: Poller
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
export class Line {
  readonly pollers = new Map<string, Poller>()
  pending = 0
  private heads: Array<Head> = []
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
    private readonly toHead: (poller: Poller) => void,
    private readonly behind: (poller: Poller) => void
  ) {}

  private emptyRest(): Heap<Poller> {
    return new Heap<Poller>(isBefore, (poller, index) => {
      poller.lineSlot = index
    })
  }

  /** The job is about to have another status. */
  willBe(poller: Poller, status: JobStatus, now: number): void {
    const before = poller.status
    if (before === undefined || poller.lineSlot === -1) return
    if (inLine(status) && compare(before, status) === 0) return
    this.leave(poller)
    if (isClaimed(status)) this.overtook(poller, now)
  }

  /** The job has its status. `false` when that shows that the order does not hold. */
  is(poller: Poller): boolean {
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
  leave(poller: Poller): void {
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

  /** The order does not hold: from now on every job is for itself. All that were in line. */
  dissolve(): ReadonlyArray<Poller> {
    const all = this.heads.map(({ poller }) => poller)
    for (let next = this.rest.pop(); next !== undefined; next = this.rest.pop()) all.push(next)
    for (const poller of all) poller.lineSlot = -1
    this.heads = []
    this.holds = false
    return all
  }

  private enter(poller: Poller): void {
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
  private overtook(claimed: Poller, now: number): void {
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
