/**
 * Polls whose answer is late, and the requests that are sent again for them: one that hangs must not hold up its job for
 * as long as a request may take, and a service that is slow must not be asked twice for everything.
 *
 * A late poll is sent again if a request that was sent after it has been answered. Without that sign the service may be
 * slow or down, and one poll at a time is sent again, as a probe. The first answer counts, whichever request it is of.
 *
 * @internal
 */
import type { RuntimeFiber } from "effect/Fiber"
import type { Poller } from "./poller.js"

/**
 * - `second`: the request that is on its way beside the poller's first one, if there is one.
 * - `sentAt`: when the newest request of the poll was sent; `patience`: when that one is late.
 *
 * @internal
 */
export interface Hedge {
  readonly second: RuntimeFiber<void> | undefined
  readonly sentAt: number
  readonly patience: number
}

// Each time that a poll is sent again, it is given twice the time, up to this much.
const longestPatience = 15_000

/** @internal */
export class Hedges {
  private readonly late = new Map<Poller, Hedge>()
  private readonly sent = new Map<Poller, Hedge>()
  /** When the newest of the requests was sent that were answered. */
  private answeredAt = -Infinity
  /** When a poll was sent again last. */
  private probedAt = -Infinity
  /** How many second requests are on their way. */
  seconds = 0

  get(poller: Poller): Hedge | undefined {
    return this.sent.get(poller) ?? this.late.get(poller)
  }

  answered(sentAt: number): void {
    this.answeredAt = Math.max(this.answeredAt, sentAt)
  }

  /** The newest request of the poll is late. */
  isLate(poller: Poller, patience: number): void {
    const hedge = this.get(poller) ?? { second: undefined, sentAt: poller.sentAt, patience }
    this.sent.delete(poller)
    this.late.set(poller, hedge)
  }

  /** The poll to be sent again first, if there is one. */
  get next(): Poller | undefined {
    return this.late.keys().next().value
  }

  /** When that is to be sent. `patience` is after which time an answer is late, by what is known now. */
  nextAt(patience: number): number {
    const hedge = this.late.values().next().value
    if (hedge === undefined) return Infinity
    const lateAt = hedge.sentAt + patience
    if (hedge.sentAt < this.answeredAt) return lateAt
    return this.sent.size > 0 ? Infinity : Math.max(lateAt, this.probedAt + patience)
  }

  /** The poll has been sent again; the result is how long that request may take before it is late. */
  isSent(poller: Poller, second: RuntimeFiber<void> | undefined, now: number, patience: number): number {
    const before = this.remove(poller)?.patience ?? patience
    const next = Math.max(patience, Math.min(longestPatience, 2 * before))
    this.probedAt = now
    this.sent.set(poller, { second, sentAt: now, patience: next })
    if (second !== undefined) this.seconds++
    return next
  }

  /** The poll is over. */
  remove(poller: Poller): Hedge | undefined {
    const hedge = this.get(poller)
    if (hedge?.second !== undefined) this.seconds--
    this.sent.delete(poller)
    this.late.delete(poller)
    return hedge
  }
}
