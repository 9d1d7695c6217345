/**
 * When each job is due: the cadences' demand, the capacity, the queue order, and pauses after a 429. Times are
 * milliseconds since the watcher was made.
 */
import * as Duration from "effect/Duration"
import * as Random from "effect/Random"
import type { JobRef } from "../../model/Job.js"
import type { RateLimited } from "../../model/QueueError.js"
import { retryAfterOf, shortestPause } from "../../policy/internal/pauses.js"
import type { DueQueue } from "./dueQueue.js"
import type { Executor } from "./executor.js"
import * as Metrics from "./metrics.js"
import type { PollingEvent } from "./notice.js"
import { type Inbox, makeQueue, type Poller, type Subscriber } from "./poller.js"
import { Demand, Latency, StretchedTime } from "./pollRate.js"
import { QueueOrder } from "./queueOrder.js"
import { RateLimit } from "./rateLimit.js"

/** @internal */
export interface Settings {
  readonly pollsPerSecond: number
  /** The part of the budget that this watcher has now. */
  readonly share: () => number
  readonly concurrency: number
  readonly queueOrder: "auto" | "always" | "never"
  /** The labels of all metrics. */
  readonly labels: Metrics.Labels
}

// the pause after a 429 without a Retry-After: twice as long each time in a row
const firstRateLimit = 1_000
const longestRateLimit = 60_000

// the longest pause of a job behind the head of the queue
const longestQueued = Duration.toMillis(Duration.minutes(2))

// stands for the pause of a job without a snapshot
const defaultPause = 1_000

/** The pollers of a watcher, and when each polls next. @internal */
export class PollPlan {
  readonly latency = new Latency()
  readonly metrics: ReturnType<typeof Metrics.ofWatcher>
  private readonly orders = new Map<string, QueueOrder<Poller>>()
  private pollers = 0
  /** By stretched time. */
  private readonly scheduled = makeQueue()
  /** By the clock: a retry policy knows nothing of the rate limit. */
  private readonly retrying = makeQueue()
  private readonly rateLimit: RateLimit
  private readonly demand = new Demand()
  private readonly time = new StretchedTime()
  private announcedStretch = 1
  /** Whether a job behind the head of its queue is polled less often than at its cadence. */
  private isOrderUsed = false
  /** Jobs that became due since then are still to be staggered. */
  private pausedAt: number | undefined = undefined
  /** No poll begins before, because of a 429 at `last429At`. */
  pausedUntil = -Infinity
  last429At = -Infinity
  private consecutive429s = 0

  constructor(
    private readonly settings: Settings,
    private readonly executor: Executor,
    private readonly onEvent: (event: PollingEvent) => void
  ) {
    this.rateLimit = new RateLimit(settings.pollsPerSecond, settings.share)
    this.metrics = Metrics.ofWatcher(settings.labels)
  }

  find(job: JobRef): Poller | undefined {
    return this.orders.get(job.model)?.pollers.get(job.requestId)
  }

  ofModel(model: string): Iterable<Poller> {
    return this.orders.get(model)?.pollers.values() ?? []
  }

  get all(): ReadonlyArray<Poller> {
    return Array.from(this.orders.values(), ({ pollers }) => Array.from(pollers.values())).flat()
  }

  subscribersOf(inbox: Inbox): ReadonlyArray<Subscriber> {
    const found: Array<Subscriber> = []
    for (const poller of this.all) {
      poller.each((subscriber) => {
        if (subscriber.inbox === inbox) found.push(subscriber)
      })
    }
    return found
  }

  orderOf(model: string): QueueOrder<Poller> {
    const known = this.orders.get(model)
    if (known !== undefined) return known
    const order = new QueueOrder<Poller>(
      model,
      Metrics.ofModel(model, this.settings.labels),
      this.settings.queueOrder !== "never",
      (poller) => {
        this.countSavedByOrder(poller)
        this.pollSooner(poller, 0)
      },
      (poller) => this.pollLater(poller)
    )
    this.orders.set(model, order)
    return order
  }

  enter(poller: Poller): void {
    const { job, order, status } = poller
    order.pollers.set(job.requestId, poller)
    this.pollers++
    this.metrics.pollers.unsafeModify(1, [])
    order.count(status, 1)
  }

  leave(poller: Poller): void {
    const { job, order, status } = poller
    this.setPeriod(poller, undefined)
    this.unschedule(poller)
    order.leave(poller)
    order.count(status, -1)
    this.pollers--
    this.metrics.pollers.unsafeModify(-1, [])
    order.pollers.delete(job.requestId)
    if (order.pollers.size === 0) this.orders.delete(order.model)
    if (this.isOrderUsed && !this.isCrowded(poller.pause || defaultPause)) this.dropOrder()
  }

  /** Ends all orders, before all pollers leave. */
  close(): void {
    for (const order of this.orders.values()) order.disable()
  }

  /** Polls at a time of the clock, or earlier if that is planned already. */
  pollAt(poller: Poller, at: number): void {
    const [queue, due] = poller.trouble === undefined ? [this.scheduled, this.time.at(at)] : [this.retrying, at]
    if (poller.phase === "idle") this.add(poller, queue, due)
    else if (due < queue.timeOf(poller.slot)) queue.move(poller.slot, due)
  }

  /** Polls after a pause of the cadence, counted from `from`. */
  schedule(poller: Poller, pause: number, period: number, now: number, from: number): void {
    poller.pause = pause
    const isBehind = poller.order.isBehind(poller) && this.isCrowded(period)
    if (isBehind) this.isOrderUsed = true
    const planned = isBehind ? this.queuedPause(poller) : poller.pause
    this.setPeriod(poller, Math.max(planned, period))
    const use = this.demand.use(this.pollers, this.capacity)
    const stretch = Math.max(1, use)
    this.metrics.budgetUse.unsafeUpdate(use, [])
    this.time.setStretch(stretch, now)
    if (stretch !== this.announcedStretch) this.announce(stretch, now)
    this.add(poller, this.scheduled, this.time.at(from) + planned)
  }

  /** A cadence asks for a pause that may be shorter than the planned one. */
  shorten(poller: Poller, pause: number, period: number): void {
    if (pause >= poller.pause && poller.pause > 0) return
    poller.pause = pause
    if (poller.phase !== "scheduled" || (poller.order.isBehind(poller) && this.isCrowded(period))) return
    this.setPeriod(poller, period)
    this.pollSooner(poller, pause)
  }

  /** When a job in trouble is polled again. */
  retryAt(poller: Poller): number {
    return poller.phase === "retrying"
      ? Math.max(this.retrying.timeOf(poller.slot), this.pausedUntil)
      : this.executor.now
  }

  /** Until when an unwatched poller is worth keeping: its next poll would be due then. */
  usableUntil({ at, pause, phase, slot }: Poller): number {
    if (phase === "scheduled") return at + pause
    return phase === "retrying" ? this.retrying.timeOf(slot) : -Infinity
  }

  private add(poller: Poller, queue: DueQueue<Poller>, due: number): void {
    poller.fiber = undefined
    queue.add(poller, due)
  }

  private unschedule(poller: Poller): void {
    if (poller.phase === "scheduled") this.scheduled.remove(poller.slot)
    else if (poller.phase === "retrying") this.retrying.remove(poller.slot)
  }

  private setPeriod(poller: Poller, period: number | undefined): void {
    this.demand.change(poller.period, period)
    poller.period = period
  }

  private get capacity(): number {
    const { mean } = this.latency
    return Math.min(this.rateLimit.perSecond, mean > 0 ? 1_000 * this.settings.concurrency / mean : Infinity)
  }

  private announce(stretch: number, now: number): void {
    this.metrics.stretch.unsafeUpdate(stretch, [])
    const { announcedStretch } = this
    const isNews = stretch === 1 || announcedStretch === 1
      ? stretch === 1 || stretch > 1.1
      : stretch > 2 * announcedStretch || stretch < announcedStretch / 2
    if (!isNews) return
    this.announcedStretch = stretch
    this.onEvent({ _tag: "PollingSlowed", at: this.executor.dateOf(now), factor: stretch })
  }

  /** Polls after this pause, if that is sooner than planned. */
  private pollSooner(poller: Poller, pause: number): void {
    if (poller.phase !== "scheduled") return
    const due = this.time.at(poller.at) + Math.max(shortestPause, pause)
    if (due < this.scheduled.timeOf(poller.slot)) this.scheduled.move(poller.slot, due)
  }

  /** The snapshot of the job has just been replaced. */
  afterChange(poller: Poller, now: number): void {
    const { order } = poller
    if (order.afterChange(poller)) return
    Metrics.count(order.metrics.orderLost, 1)
    this.onEvent({ _tag: "QueueOrderViolated", at: this.executor.dateOf(now), model: order.model })
    for (const poller of order.disable()) this.pollSooner(poller, poller.pause)
  }

  /** The job moved behind others. */
  private pollLater(poller: Poller): void {
    if (poller.phase !== "scheduled" || poller.confirmingSince !== undefined || !this.isCrowded(poller.pause)) return
    this.isOrderUsed = true
    const pause = this.queuedPause(poller)
    this.setPeriod(poller, pause)
    const due = this.time.at(poller.at) + pause
    if (due > this.scheduled.timeOf(poller.slot)) this.scheduled.move(poller.slot, due)
  }

  /** Whether there are more jobs than the capacity allows to poll at this period. */
  private isCrowded(period: number): boolean {
    return this.settings.queueOrder === "always" || this.pollers * 1_000 > this.capacity * period
  }

  /** There are few jobs again: the capacity allows to poll each at its cadence. */
  private dropOrder(): void {
    this.isOrderUsed = false
    for (const { behindHead } of this.orders.values()) {
      for (const poller of behindHead) {
        this.setPeriod(poller, poller.pause)
        this.pollSooner(poller, poller.pause)
      }
    }
  }

  // the last quarter is random, so that jobs of one moment are polled at different times
  private queuedPause({ pause }: Poller): number {
    const random = this.executor.runSync(Random.next)
    return Math.max(pause, Math.ceil(longestQueued * (0.75 + random / 4)))
  }

  /** Counts the polls that the cadence would have made since the last response. A poll is made now. */
  private countSavedByOrder({ at, order, pause }: Poller): void {
    const saved = Math.floor((this.executor.now - at) / (pause * this.time.stretch)) - 1
    Metrics.count(order.metrics.savedByOrder, saved)
  }

  /** When the next poll may begin. */
  get nextAt(): number {
    return Math.max(this.nextDue, this.freeAt)
  }

  /** When any request may be sent. */
  get freeAt(): number {
    return Math.max(this.pausedUntil, this.rateLimit.freeAt)
  }

  /** The poller to poll now, if there is one. */
  next(now: number): Poller | undefined {
    if (this.nextAt > now) return undefined
    if (this.pausedAt === undefined) return this.nextQueue.first
    this.stagger(this.pausedAt, now)
    return this.next(now)
  }

  /** The poll of a due poller begins. */
  begin(poller: Poller, now: number): void {
    poller.order.metrics.staleness.unsafeUpdate(now - this.nextDue, [])
    this.unschedule(poller)
    this.spend(poller, now)
    if (poller.order.isBehind(poller)) this.countSavedByOrder(poller)
  }

  /** Counts a request against the rate limit. */
  spend(poller: Poller, now: number): void {
    poller.polls++
    this.rateLimit.spend(now)
    Metrics.count(poller.order.metrics.polls, 1)
  }

  private get nextQueue(): DueQueue<Poller> {
    return this.retrying.firstTime <= this.time.toClock(this.scheduled.firstTime) ? this.retrying : this.scheduled
  }

  private get nextDue(): number {
    return Math.min(this.time.toClock(this.scheduled.firstTime), this.retrying.firstTime)
  }

  /** All jobs share one token and its limit, so a 429 pauses all polls. */
  pause(error: RateLimited): void {
    const { now } = this.executor
    const retryAfter = Duration.toMillis(retryAfterOf(error))
    const isNew = now >= this.pausedUntil
    // a 429 to a request that was sent before the pause is not another one in a row
    if (!isNew && retryAfter === 0) return
    const pause = retryAfter > 0 ? retryAfter : Math.min(longestRateLimit, firstRateLimit * 2 ** this.consecutive429s)
    this.last429At = now
    if (isNew && retryAfter === 0) this.consecutive429s++
    this.pausedUntil = Math.max(this.pausedUntil, now + pause)
    if (!isNew) return
    this.pausedAt ??= now
    Metrics.count(this.metrics.pauses, 1)
    this.onEvent({
      _tag: "PollingPaused",
      at: this.executor.dateOf(now),
      until: this.executor.dateOf(this.pausedUntil),
      error
    })
  }

  /** A poll was answered after so many milliseconds. */
  onResponse(millis: number): void {
    this.latency.add(millis)
    this.consecutive429s = 0
  }

  /**
   * A pause has ended. The jobs that became due meanwhile are polled one after the other, over no more time than the pause
   * took, and none later than its cadence asks for.
   */
  private stagger(pausedAt: number, now: number): void {
    this.pausedAt = undefined
    const due: Array<Poller> = []
    while (this.nextDue <= now) due.push(this.nextQueue.pop()!)
    due.forEach((poller, i) => {
      const after = Math.ceil(Math.min(now - pausedAt, poller.pause || defaultPause) * i / due.length)
      if (poller.trouble === undefined) this.scheduled.add(poller, this.time.at(now) + after)
      else this.retrying.add(poller, now + after)
    })
  }
}
