/**
 * Polls whose response is late, and the requests that are sent again for them: a request that hangs must not delay its job
 * until the request timeout, and a slow service must not receive every request twice.
 *
 * A late poll is sent again if a later request was answered. Without that sign the service may be slow or down, and one
 * poll at a time is sent again, as a probe. The first response counts, whichever request it belongs to.
 */
import type * as Fiber from "../../queue/internal/fiber.js"
import type { Poller } from "./poller.js"

/** @internal */
export interface Hedge {
  /** The request beside the poller's first one. */
  readonly second: Fiber.Fiber | undefined
  /** When the newest request of the poll was sent. */
  readonly sentAt: number
  /** After how many milliseconds that request is late. */
  readonly lateAfter: number
}

// each request after the first gets twice the time of the one before, up to this
const longestLateAfter = 15_000

/** @internal */
export class Hedges {
  private readonly late = new Map<Poller, Hedge>()
  private readonly sent = new Map<Poller, Hedge>()
  /** When the newest answered request was sent. */
  private answeredAt = -Infinity
  /** When a poll was last sent again. */
  private probedAt = -Infinity
  /** The number of second requests in flight. */
  seconds = 0

  get(poller: Poller): Hedge | undefined {
    return this.sent.get(poller) ?? this.late.get(poller)
  }

  onResponse(sentAt: number): void {
    this.answeredAt = Math.max(this.answeredAt, sentAt)
  }

  /** The newest request of the poll is late. */
  onLate(poller: Poller, sentAt: number, lateAfter: number): void {
    const hedge = this.get(poller) ?? { second: undefined, sentAt, lateAfter }
    this.sent.delete(poller)
    this.late.set(poller, hedge)
  }

  /** The poll to send again first, if there is one. */
  get next(): Poller | undefined {
    return this.late.keys().next().value
  }

  /** When to send that poll. `lateAfter` is after how many milliseconds a response is late at present. */
  nextAt(lateAfter: number): number {
    const hedge = this.late.values().next().value
    if (hedge === undefined) return Infinity
    const lateAt = hedge.sentAt + lateAfter
    if (hedge.sentAt < this.answeredAt) return lateAt
    return this.sent.size > 0 ? Infinity : Math.max(lateAt, this.probedAt + lateAfter)
  }

  /** The poll has been sent again. Returns after how many milliseconds that request is late. */
  onSent(poller: Poller, second: Fiber.Fiber | undefined, now: number, lateAfter: number): number {
    const before = this.remove(poller)?.lateAfter ?? lateAfter
    const next = Math.max(lateAfter, Math.min(longestLateAfter, 2 * before))
    this.probedAt = now
    this.sent.set(poller, { second, sentAt: now, lateAfter: next })
    if (second !== undefined) this.seconds++
    return next
  }

  /** The poll has ended. */
  remove(poller: Poller): Hedge | undefined {
    const hedge = this.get(poller)
    if (hedge?.second !== undefined) this.seconds--
    this.sent.delete(poller)
    this.late.delete(poller)
    return hedge
  }
}
