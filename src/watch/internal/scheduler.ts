/**
 * One scheduler for all the jobs of a watcher: it polls each when it is due, and tells those who watch it.
 *
 * A job is a record, not a fiber: it has one only while its request is on its way, and there is one more, a timer, for
 * whatever comes next.
 *
 * @internal
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import type * as DateTime from "effect/DateTime"
import * as DefaultServices from "effect/DefaultServices"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import type { RuntimeFiber } from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as FiberRef from "effect/FiberRef"
import type * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import type * as Random from "effect/Random"
import * as Runtime from "effect/Runtime"
import { sameJson } from "../../model/internal/fingerprint.js"
import { keyOf } from "../../model/internal/jobKey.js"
import * as Job from "../../model/Job.js"
import * as QueueError from "../../model/QueueError.js"
import type * as Transition from "../../model/Transition.js"
import { maxPause, minPause } from "../../policy/internal/pauses.js"
import { retryAfterOf } from "../../policy/internal/retryAfter.js"
import * as Pacer from "../../policy/internal/scheduleDriver.js"
import { dateOf, monotonic, wallOffset } from "../../policy/internal/time.js"
import type { WatchPolicy } from "../../policy/WatchPolicy.js"
import type { Service as JobQueueService } from "../../queue/JobQueue.js"
import { Agenda } from "./dueQueue.js"
import { lookAgainAt, lookTimeoutOf, nextExpiry } from "./expiry.js"
import { awaitEnd, final, type Trouble, troubleOf } from "./expiryErrors.js"
import { Hedges } from "./hedges.js"
import * as JobState from "./jobState.js"
import * as Metrics from "./metrics.js"
import { mismatchOf } from "./outcome.js"
import { type End, Pace, Poller, type Subscriber } from "./poller.js"
import { Demand, firstPause, Latency, StretchedTime } from "./pollPlan.js"
import { Line } from "./queueOrder.js"
import { Budget } from "./rateLimit.js"

/** @internal */
export interface Settings {
  readonly pollsPerSecond: number
  readonly concurrency: number
  readonly queueOrder: "auto" | "always" | "never"
  /** How long a known end is kept, in milliseconds, and how many of them. */
  readonly keptFor: number
  readonly keptEnds: number
  /** The longest pause of a job that is behind the head of the line, in milliseconds. */
  readonly floor: number
}

/**
 * What happens to all jobs together.
 *
 * @internal
 */
export interface Events {
  readonly stretched: (at: DateTime.Utc, stretch: number) => void
  readonly paused: (at: DateTime.Utc, until: DateTime.Utc, error: QueueError.RateLimited) => void
  readonly orderLost: (at: DateTime.Utc, model: string) => void
}

const count = (metric: Metric.Metric.Counter<number>, by: number): void => {
  if (by > 0) metric.unsafeUpdate(by, [])
}

const shortest = Duration.toMillis(minPause)
const longest = Duration.toMillis(maxPause)

// How long the service is left alone that has had enough and does not say for how long: twice as long each time in a row.
const firstRateLimit = 1_000
const longestRateLimit = 60_000

// A timer that is later than this will not come.
const timerTolerance = 1_000

// A job that has not been seen yet has no pause: this is taken for it.
const defaultPause = 1_000

const isSameTime = (a: Option.Option<DateTime.Utc>, b: Option.Option<DateTime.Utc>): boolean =>
  a === b || (Option.isSome(a) && Option.isSome(b) && a.value.epochMillis === b.value.epochMillis)

const isSameNumber = (a: Option.Option<number>, b: Option.Option<number>): boolean =>
  a === b || (Option.isSome(a) && Option.isSome(b) && a.value === b.value)

const isSame = (a: Job.JobStatus, b: Job.JobStatus): boolean =>
  a._tag === b._tag && (a._tag !== "Unrecognized" || a.status === (b as Job.Unrecognized).status) &&
  isSameTime(a.createdAt, b.createdAt) && isSameTime(a.claimedAt, b.claimedAt) && isSameTime(a.doneAt, b.doneAt) &&
  isSameNumber(a.priority, b.priority) && isSameNumber(a.retries, b.retries) &&
  sameJson(a.info, b.info) && sameJson(a.inputs, b.inputs) && sameJson(a.outputs, b.outputs) &&
  sameJson(a.warnings, b.warnings)

const interrupted = Cause.interrupt(FiberId.none)

const endOf = ({ at, cursor, job, status, version }: Poller, error: End["error"]): End => ({
  job,
  status,
  at,
  version,
  before: cursor,
  error
})

/** @internal */
export class Scheduler {
  private readonly lines = new Map<string, Line<Poller>>()
  private readonly ends = new Map<string, End>()
  /** Pollers that have no subscribers, and when their next polls would be due. */
  private readonly parked = new Map<string, { readonly poller: Poller; readonly due: number }>()
  /** The jobs to be polled, by `pauseTime`; those in trouble, by the clock, since no service waits longer for a budget. */
  private readonly waiting = new Agenda<Poller>((poller, index) => {
    poller.slot = index
  })
  private readonly retrying = new Agenda<Poller>((poller, index) => {
    poller.slot = index
  })
  /** Those whose request is on its way, by when that is late or given up; deadlines of watchers. */
  private readonly asking = new Agenda<Poller>((poller, index) => {
    poller.slot = index === -1 ? -1 : -2 - index
  })
  private readonly expiring = new Agenda<Poller>((poller, index) => {
    poller.expirySlot = index
  })
  /** The steps of schedules that subscribers wait for, where they take long. */
  private readonly joining = new Map<Subscriber, RuntimeFiber<unknown>>()
  private readonly hedges = new Hedges()
  /** Those that were told to stop and have not yet. */
  private readonly stopping = new Map<string, Set<RuntimeFiber<void>>>()
  private readonly budget: Budget
  /** The monotonic time when the watcher began. */
  private readonly began: number
  private turns = 0
  private pollers = 0
  private watchers = 0
  private isClosed = false
  private isPumping = false

  private readonly demand = new Demand()
  private readonly latency = new Latency()
  private readonly pauseTime = new StretchedTime()
  private told = 1
  /** Whether a job behind the head of its line is polled less often than at its cadence. */
  private isOrderUsed = false

  /** No poll begins before `pausedUntil`; jobs that became due since `pausedAt` are still to be spread. */
  private pausedAt: number | undefined = undefined
  private pausedUntil = -Infinity
  private unspoken = 0

  private runtime: Runtime.Runtime<never>
  private clock: Clock.Clock
  private timer: RuntimeFiber<void> | undefined = undefined
  private timerAt = Infinity

  constructor(
    private readonly queue: JobQueueService,
    private readonly settings: Settings,
    private readonly base: Runtime.Runtime<never>,
    clock: Clock.Clock,
    private readonly random: Random.Random,
    private readonly events: Events
  ) {
    this.budget = new Budget(settings.pollsPerSecond)
    this.runtime = base
    this.clock = clock
    this.began = monotonic(clock)
  }

  private get now(): number {
    const now = monotonic(this.clock) - this.began
    // a whole number that comes out of a subtraction takes 16 bytes, wherever it is kept, until it is told to be one
    return Math.floor(now)
  }

  /** The date of a time of the watcher. */
  dateOf(time: number): DateTime.Utc {
    return dateOf(this.clock, this.began + time)
  }

  /** What a schedule of a pace is told: a time of the wall clock that goes on steadily, whatever that clock is set to. */
  private scheduleTime(pace: Pace, now: number): number {
    return pace.wallOffset + this.began + now
  }

  // ---------------------------------------------------------------------------
  // subscribers
  // ---------------------------------------------------------------------------

  subscribe(subscriber: Subscriber, job: Job.JobRef): Effect.Effect<void> {
    return Effect.withFiberRuntime((fiber) => {
      if (this.isClosed) return Effect.interrupt
      if (this.watchers === 0 || this.isTimerLost) this.wake(fiber)
      const { now } = this
      subscriber.startedAt = now
      const end = this.keptEnd(job, now)
      if (end !== undefined) {
        subscriber.source = end
        return Effect.void
      }
      const line = this.lineOf(job.model)
      const poller = line.pollers.get(job.requestId) ?? this.unpark(line, job, now) ??
        this.start(line, job, subscriber.policy, now)
      subscriber.source = poller
      poller.add(subscriber)
      this.countWatchers(1)
      this.expectNoLaterThan(poller, this.expiryOf(poller, subscriber).at)
      const pace = poller.join(subscriber.policy, wallOffset(this.clock))
      if (poller.trouble !== undefined) this.joinRetry(poller, poller.trouble, subscriber)
      else if (pace !== undefined && poller.status !== undefined) {
        this.joinCadence(poller, poller.status, subscriber, pace)
      }
      this.pump()
      return Effect.void
    })
  }

  // The subscriber polls as if it had been there at the last poll: the snapshot that there is will do until its own
  // cadence, or the retry of its own, would have polled again.

  private joinCadence(poller: Poller, status: Job.JobStatus, subscriber: Subscriber, pace: Pace): void {
    this.ofSubscriber(
      poller,
      subscriber,
      firstPause(pace, this.scheduleTime(pace, poller.at), status),
      ({ period }) => this.follow(poller, period)
    )
  }

  private joinRetry(poller: Poller, { at, error, notBefore }: Trouble, subscriber: Subscriber): void {
    const { retry } = subscriber.policy
    this.ofSubscriber(
      poller,
      subscriber,
      Pacer.step(retry, wallOffset(this.clock) + this.began + at, error, retry.initial),
      ([, pause = 0]) => {
        if (poller.slot < 0 || poller.trouble === undefined) return
        const due = Math.max(notBefore, at + Pacer.retryPause(pause, error))
        if (due < this.retrying.timeOf(poller.slot)) this.retrying.move(poller.slot, due)
      }
    )
  }

  /** Runs a step of a subscriber's schedule, which is anybody's code: it may take long, and if it dies, so does the watch. */
  private ofSubscriber<A>(
    poller: Poller,
    subscriber: Subscriber,
    step: Effect.Effect<A>,
    then: (result: A) => void
  ): void {
    const fiber = this.fork(step)
    const settle = (exit: Exit.Exit<A>): void => {
      if (subscriber.source !== poller) return
      if (Exit.isSuccess(exit)) return then(exit.value)
      this.end(poller, subscriber, endOf(poller, exit.cause))
      if (poller.subscribers === undefined) this.drop(poller)
    }
    const exit = fiber.unsafePoll()
    if (exit !== null) return settle(exit)
    this.joining.set(subscriber, fiber)
    fiber.addObserver((exit) => {
      this.joining.delete(subscriber)
      settle(exit)
      this.pump()
    })
  }

  /** Polls after this pause, if that is sooner than planned. */
  private follow(poller: Poller, pause: number): void {
    if (pause >= poller.pause && poller.pause > 0) return
    poller.pause = pause
    if (poller.lineSlot >= 0 || poller.slot < 0 || poller.trouble !== undefined) return
    this.plan(poller, pause)
    this.hasten(poller, pause)
  }

  /**
   * The subscriber does not watch any more, or its watch has ended. The last subscriber of a job stops its requests. Those
   * that were stopped have ended when this does.
   */
  unsubscribe(subscriber: Subscriber): Effect.Effect<void> {
    return this.unsubscribeAll([subscriber])
  }

  private unsubscribeAll(subscribers: Iterable<Subscriber>): Effect.Effect<void> {
    return Effect.suspend(() => {
      const { timer } = this
      const fibers: Array<RuntimeFiber<void>> = []
      for (const subscriber of subscribers) {
        const { poller, source } = subscriber
        if (poller !== undefined) {
          this.detach(poller, subscriber)
          if (poller.subscribers === undefined) this.park(poller)
        }
        if (source === undefined || this.stopping.size === 0) continue
        for (const fiber of this.stopping.get(keyOf(source.job)) ?? []) fibers.push(fiber)
      }
      this.pump()
      if (timer !== undefined && this.timer !== timer) fibers.push(timer)
      return Effect.forEach(fibers, (fiber) => awaitEnd(fiber), { discard: true })
    })
  }

  unsubscribeWhere(predicate: (subscriber: Subscriber) => boolean): Effect.Effect<void> {
    return Effect.suspend(() => {
      const found: Array<Subscriber> = []
      for (const line of this.lines.values()) {
        for (const poller of line.pollers.values()) {
          poller.each((subscriber) => {
            if (predicate(subscriber)) found.push(subscriber)
          })
        }
      }
      return this.unsubscribeAll(found)
    })
  }

  /** When a job in trouble is polled again. */
  dueOf({ slot }: Poller): number {
    return slot < 0 ? this.now : Math.max(this.retrying.timeOf(slot), this.pausedUntil)
  }

  find(job: Job.JobRef): Poller | undefined {
    return this.lines.get(job.model)?.pollers.get(job.requestId)
  }

  // On Cloudflare Workers a timer dies with the request that set it.
  private get isTimerLost(): boolean {
    return this.timer !== undefined && this.now > this.timerAt + timerTolerance
  }

  // Clock and scheduler are those of the subscriber: in a test they may be others than those of the fiber that made the
  // watcher.
  private wake(fiber: RuntimeFiber<unknown, unknown>): void {
    this.stopTimer()
    this.clock = Context.get(fiber.getFiberRef(DefaultServices.currentServices), Clock.Clock)
    this.runtime = Runtime.runSync(this.base)(
      Effect.runtime<never>().pipe(
        Effect.withClock(this.clock),
        Effect.withScheduler(fiber.getFiberRef(FiberRef.currentScheduler)),
        // one span a watch, not a poll
        Effect.withTracerEnabled(false)
      )
    )
  }

  private fork<A>(effect: Effect.Effect<A>): RuntimeFiber<A> {
    return Runtime.runFork(this.runtime)(effect)
  }

  private lineOf(model: string): Line<Poller> {
    const known = this.lines.get(model)
    if (known !== undefined) return known
    const line = new Line<Poller>(
      model,
      Metrics.ofModel(model),
      this.settings.queueOrder !== "never",
      (poller) => {
        this.countSavedByOrder(poller)
        this.hasten(poller, 0)
      },
      (poller) => this.slow(poller)
    )
    this.lines.set(model, line)
    return line
  }

  private start(line: Line<Poller>, job: Job.JobRef, policy: WatchPolicy, now: number): Poller {
    const ref = Equal.isEqual(job) ? job : Job.ref(job.model, job.requestId)
    const poller = new Poller(ref, line, this.turns++, policy, wallOffset(this.clock))
    this.enter(poller)
    const last = this.stopping.get(keyOf(job))
    if (last === undefined) {
      this.waiting.add(poller, this.pauseTime.at(now))
    } else {
      // two requests of a job are never on their way together
      poller.fiber = this.fork(Effect.map(Effect.forEach(last, (fiber) => awaitEnd(fiber)), () => {
        this.wait(poller, this.waiting, this.pauseTime.at(this.now))
        this.pump()
      }))
    }
    return poller
  }

  private enter(poller: Poller): void {
    const { job, line, status } = poller
    line.pollers.set(job.requestId, poller)
    this.pollers++
    Metrics.pollers.unsafeUpdate(this.pollers, [])
    if (status?._tag === "Pending") this.deepen(line, 1)
  }

  /** The last subscriber has left. Until its next poll would be due, the poller is kept for another one. */
  private park(poller: Poller): void {
    const { now } = this
    const due = poller.slot < 0
      ? -Infinity
      : poller.trouble === undefined
      ? poller.at + poller.pause
      : this.retrying.timeOf(poller.slot)
    this.drop(poller)
    if (due <= now) return
    this.parked.set(keyOf(poller.job), { poller, due })
    for (const [key, { due }] of this.parked) {
      if (this.parked.size <= this.settings.keptEnds && due > now) return
      this.parked.delete(key)
    }
  }

  private unpark(line: Line<Poller>, job: Job.JobRef, now: number): Poller | undefined {
    const key = keyOf(job)
    const parked = this.parked.get(key)
    if (parked === undefined) return undefined
    this.parked.delete(key)
    const { due, poller } = parked
    if (due <= now) return undefined
    poller.line = line
    this.enter(poller)
    line.is(poller)
    poller.retry = undefined
    if (poller.trouble === undefined) this.schedule(poller, poller.pause, poller.pause, now, poller.at)
    else this.wait(poller, this.retrying, due)
    return poller
  }

  private detach(poller: Poller, subscriber: Subscriber): void {
    this.joining.get(subscriber)?.unsafeInterruptAsFork(FiberId.none)
    subscriber.source = undefined
    poller.remove(subscriber)
    poller.leave(subscriber.policy)
    this.countWatchers(-1)
  }

  private countWatchers(by: number): void {
    this.watchers += by
    Metrics.watchers.unsafeUpdate(this.watchers, [])
  }

  /** Nobody watches the job any more, or nobody can. */
  private drop(poller: Poller): void {
    const { line } = poller
    this.plan(poller, 0)
    this.leaveSlot(poller)
    this.expect(poller, Infinity)
    line.leave(poller)
    if (poller.status?._tag === "Pending") this.deepen(line, -1)
    this.pollers--
    Metrics.pollers.unsafeUpdate(this.pollers, [])
    line.pollers.delete(poller.job.requestId)
    if (line.pollers.size === 0) this.lines.delete(line.model)
    this.stopAll(poller)
    if (this.isOrderUsed && !this.isCrowded(poller.pause || defaultPause)) this.dropOrder()
  }

  /** There are so few jobs again that each may be polled at its cadence. */
  private dropOrder(): void {
    this.isOrderUsed = false
    for (const { behindHead } of this.lines.values()) {
      for (const poller of behindHead) {
        this.plan(poller, poller.pause)
        this.hasten(poller, poller.pause)
      }
    }
  }

  /** Those that run for a poller: its requests, or what comes before and after them. */
  private fibersOf(poller: Poller): ReadonlyArray<RuntimeFiber<void>> {
    return [poller.fiber, this.hedges.get(poller)?.second].filter((fiber) => fiber !== undefined)
  }

  private stopAll(poller: Poller): void {
    for (const fiber of this.fibersOf(poller)) this.stop(poller.job, fiber)
    this.hedges.remove(poller)
    poller.fiber = undefined
  }

  private stop(job: Job.JobRef, fiber: RuntimeFiber<void>): void {
    const key = keyOf(job)
    const fibers = this.stopping.get(key) ?? new Set()
    this.stopping.set(key, fibers.add(fiber))
    fiber.addObserver(() => {
      fibers.delete(fiber)
      if (fibers.size === 0 && this.stopping.get(key) === fibers) this.stopping.delete(key)
    })
    fiber.unsafeInterruptAsFork(FiberId.none)
  }

  private end(poller: Poller, subscriber: Subscriber, end: End): void {
    this.detach(poller, subscriber)
    subscriber.source = end
    subscriber.notify()
  }

  // ---------------------------------------------------------------------------
  // ends
  // ---------------------------------------------------------------------------

  private keptEnd(job: Job.JobRef, now: number): End | undefined {
    const end = this.ends.get(keyOf(job))
    return end !== undefined && end.at + this.settings.keptFor > now ? end : undefined
  }

  private keep(end: End): void {
    this.ends.set(keyOf(end.job), end)
    for (const [key, { at }] of this.ends) {
      if (this.ends.size <= this.settings.keptEnds && at + this.settings.keptFor > end.at) return
      this.ends.delete(key)
    }
  }

  // ---------------------------------------------------------------------------
  // deadlines
  // ---------------------------------------------------------------------------

  // One that goes on from a cursor may know more than its poller, which may have seen stale snapshots alone.
  private stateOf(poller: Poller, subscriber: Subscriber): JobState.JobState {
    const { from, startedAt } = subscriber
    if (from === undefined) return poller
    if (poller.status === undefined || JobState.isStale(from, poller.status)) return JobState.make(from, startedAt)
    subscriber.from = undefined
    return poller
  }

  private expiryOf(poller: Poller, subscriber: Subscriber) {
    return nextExpiry(subscriber.startedAt, this.stateOf(poller, subscriber), subscriber.policy.deadline)
  }

  private expectNoLaterThan(poller: Poller, at: number): void {
    if (at < this.expiring.timeOf(poller.expirySlot)) this.expect(poller, at)
  }

  private expect(poller: Poller, at: number): void {
    if (at === this.expiring.timeOf(poller.expirySlot)) return
    if (at === Infinity) this.expiring.remove(poller.expirySlot)
    else if (poller.expirySlot === -1) this.expiring.add(poller, at)
    else this.expiring.move(poller.expirySlot, at)
  }

  private expectAnew(poller: Poller): void {
    const { lookSince } = poller
    let at = Infinity
    poller.each((subscriber) => {
      const expiry = this.expiryOf(poller, subscriber)
      const isAwaited = lookSince !== -1 && expiry.at <= lookSince
      at = Math.min(at, isAwaited ? lookSince + lookTimeoutOf(subscriber.policy.deadline) : expiry.at)
    })
    this.expect(poller, at)
  }

  /**
   * Ends the watches whose deadlines have passed. When to poll first, for those of which too little is known; `Infinity`
   * if there are none.
   */
  private endExpired(poller: Poller, now: number): number {
    const since = poller.lookSince === -1 ? now : poller.lookSince
    const landedAt = Math.max(poller.sentAt, poller.at, poller.trouble?.at ?? 0)
    const polled = {
      sentAt: poller.sentAt,
      landedAt,
      freshUntil: poller.status === undefined ? -Infinity : poller.at + poller.pause,
      notBefore: Math.max(this.pausedUntil, poller.trouble?.notBefore ?? 0)
    }
    let lookAt = Infinity
    poller.each((subscriber) => {
      const expiry = this.expiryOf(poller, subscriber)
      if (expiry.at > now) return
      const lookTimeout = lookTimeoutOf(subscriber.policy.deadline)
      const at = lookAgainAt(expiry, polled, now, since + lookTimeout)
      if (at !== undefined) {
        lookAt = Math.min(lookAt, at)
        return
      }
      const known = {
        state: this.inMonotonicTime(this.stateOf(poller, subscriber)),
        trouble: poller.slot <= -2 && now >= since + lookTimeout
          // the look was not answered
          ? troubleOf(poller.trouble, this.timedOut(poller.job, Duration.millis(lookTimeout)), now)
          : poller.trouble,
        landedAt: this.began + landedAt
      }
      this.end(poller, subscriber, endOf(poller, { _tag: "Expired", expiry, known }))
    })
    poller.lookSince = lookAt === Infinity ? -1 : since
    return lookAt
  }

  private inMonotonicTime({ at, cursor, status, unchangedSince }: JobState.JobState): JobState.JobState {
    const { began } = this
    return { cursor, status, at: began + at, unchangedSince: began + unchangedSince }
  }

  private expire(poller: Poller, now: number): void {
    const lookAt = this.endExpired(poller, now)
    if (poller.subscribers === undefined) return this.drop(poller)
    this.expectAnew(poller)
    if (lookAt < Infinity) this.look(poller, lookAt)
  }

  /** Polls as soon as may be, since a deadline has passed; a request that is on its way will do, if it is answered. */
  private look(poller: Poller, at: number): void {
    const { fiber, sentAt, slot } = poller
    if (slot >= 0) {
      const [agenda, due] = this.placeOf(poller, at)
      if (due < agenda.timeOf(slot)) agenda.move(slot, due)
    } else if (slot === -1 && sentAt !== -1 && fiber !== undefined) {
      // a schedule takes its time
      this.stop(poller.job, fiber)
      poller.fiber = this.fork(Effect.map(awaitEnd(fiber), () => {
        this.wait(poller, ...this.placeOf(poller, at))
        this.pump()
      }))
    }
  }

  /** Where a job waits that is to be polled at a time of the clock. */
  private placeOf({ trouble }: Poller, at: number): readonly [Agenda<Poller>, due: number] {
    return trouble === undefined ? [this.waiting, this.pauseTime.at(at)] : [this.retrying, at]
  }

  // ---------------------------------------------------------------------------
  // when to poll
  // ---------------------------------------------------------------------------

  private wait(poller: Poller, agenda: Agenda<Poller>, due: number): void {
    poller.fiber = undefined
    agenda.add(poller, due)
    if (poller.lookSince !== -1) this.expire(poller, this.now)
  }

  private leaveSlot(poller: Poller): void {
    if (poller.slot < 0) this.asking.remove(-2 - poller.slot)
    else if (poller.trouble === undefined) this.waiting.remove(poller.slot)
    else this.retrying.remove(poller.slot)
  }

  /** Polls after this pause, if that is sooner than planned, and there is no trouble. */
  private hasten(poller: Poller, pause: number): void {
    const due = this.pauseTime.at(poller.at) + Math.max(shortest, pause)
    if (poller.slot < 0 || poller.trouble !== undefined) return
    if (due < this.waiting.timeOf(poller.slot)) this.waiting.move(poller.slot, due)
  }

  /** The job has come to be behind others. */
  private slow(poller: Poller): void {
    if (poller.slot < 0 || poller.trouble !== undefined || poller.lookSince !== -1) return
    if (!this.isCrowded(poller.pause)) return
    this.isOrderUsed = true
    const pause = this.patience(poller)
    this.plan(poller, pause)
    const due = this.pauseTime.at(poller.at) + pause
    if (due > this.waiting.timeOf(poller.slot)) this.waiting.move(poller.slot, due)
  }

  /** Whether there are more jobs than may be polled at this period. */
  private isCrowded(period: number): boolean {
    return this.settings.queueOrder === "always" || this.pollers * 1_000 > this.capacity * period
  }

  // The last quarter of the time that a job behind others may be left alone is chance: those that came together part.
  private patience({ pause }: Poller): number {
    return Math.max(pause, Math.ceil(this.settings.floor * (0.75 + this.chance() / 4)))
  }

  private chance(): number {
    return Runtime.runSync(this.runtime)(this.random.next)
  }

  /** The job is polled once in a period; in none if it is 0. */
  private plan(poller: Poller, period: number): void {
    this.demand.change(poller.period, period)
    poller.period = period
  }

  private get capacity(): number {
    const { mean } = this.latency
    return Math.min(this.budget.perSecond, mean > 0 ? 1_000 * this.settings.concurrency / mean : Infinity)
  }

  private schedule(poller: Poller, pause: number, period: number, now: number, from = now): void {
    poller.pause = pause
    const isBehind = poller.lineSlot >= 0 && this.isCrowded(period)
    if (isBehind) this.isOrderUsed = true
    const planned = isBehind ? this.patience(poller) : pause
    this.plan(poller, Math.max(planned, period))
    const stretch = this.demand.stretch(this.pollers, this.capacity)
    this.pauseTime.setStretch(stretch, now)
    if (stretch !== this.told) this.tellStretch(stretch, now)
    this.wait(poller, this.waiting, this.pauseTime.at(from) + planned)
  }

  private tellStretch(stretch: number, now: number): void {
    Metrics.stretch.unsafeUpdate(stretch, [])
    const isNews = stretch === 1 || this.told === 1
      ? stretch === 1 || stretch > 1.1
      : stretch > 2 * this.told || stretch < this.told / 2
    if (!isNews) return
    this.told = stretch
    this.events.stretched(this.dateOf(now), stretch)
  }

  // ---------------------------------------------------------------------------
  // polls
  // ---------------------------------------------------------------------------

  /** Does all that is due, and sets the timer for what comes next. */
  private pump(): void {
    if (this.isPumping) return
    this.isPumping = true
    const { now } = this
    while (this.asking.firstTime <= now) this.overdue(this.asking.first!, now)
    while (this.expiring.firstTime <= now) this.expire(this.expiring.first!, now)
    while (this.nextHedgeAt() <= this.now) this.askAgain(this.hedges.next!)
    while (this.nextPollAt() <= this.now) this.fork(this.work)
    this.isPumping = false
    this.arm()
  }

  private nextPollAt(): number {
    return this.isFull ? Infinity : Math.max(this.nextDue, this.pausedUntil, this.budget.freeAt)
  }

  private nextHedgeAt(): number {
    return Math.max(this.hedges.nextAt(this.latency.late), this.pausedUntil, this.budget.freeAt)
  }

  private get isFull(): boolean {
    return this.asking.size + this.hedges.seconds >= this.settings.concurrency
  }

  private get nextAgenda(): Agenda<Poller> {
    return this.retrying.firstTime <= this.pauseTime.toClock(this.waiting.firstTime) ? this.retrying : this.waiting
  }

  private get nextDue(): number {
    return Math.min(this.pauseTime.toClock(this.waiting.firstTime), this.retrying.firstTime)
  }

  private stopTimer(): void {
    this.timer?.unsafeInterruptAsFork(FiberId.none)
    this.timer = undefined
  }

  private arm(): void {
    if (this.isPumping) return
    const at = Math.min(this.nextPollAt(), this.nextHedgeAt(), this.asking.firstTime, this.expiring.firstTime)
    // one that comes too early does no harm, and need not be replaced
    if (at === Infinity || at < this.timerAt) this.stopTimer()
    if (this.timer !== undefined || at === Infinity) return
    this.timerAt = at
    const timer = this.fork(this.clock.sleep(Duration.millis(Math.min(longest, Math.max(0, at - this.now)))))
    this.timer = timer
    timer.addObserver(() => {
      if (this.timer !== timer) return
      this.timer = undefined
      this.pump()
    })
  }

  /**
   * The pause after a rate limit is over. The jobs that became due meanwhile are polled one after the other, over no more
   * time than the pause took, and none later than its own cadence says.
   */
  private resume(pausedAt: number, now: number): void {
    this.pausedAt = undefined
    const due: Array<Poller> = []
    while (this.nextDue <= now) {
      // there is one: it is due
      const poller = this.nextAgenda.first!
      this.leaveSlot(poller)
      due.push(poller)
    }
    due.forEach((poller, i) => {
      const after = Math.ceil(Math.min(now - pausedAt, poller.pause || defaultPause) * i / due.length)
      if (poller.trouble === undefined) this.waiting.add(poller, this.pauseTime.at(now) + after)
      else this.retrying.add(poller, now + after)
    })
  }

  /** Polls whatever is due, one after the other: to make a fiber for each would be half of the cost. */
  private readonly work: Effect.Effect<void> = Effect.withFiberRuntime<void>((fiber) => {
    let next: Poller | undefined
    return Effect.map(
      Effect.whileLoop({
        while: () => (next = this.take()) !== undefined,
        // there is one: `while` has just looked
        body: () => this.ask(next!, fiber as RuntimeFiber<void>),
        step: () => {}
      }),
      () => this.pump()
    )
  })

  private take(): Poller | undefined {
    for (let { now } = this; this.nextPollAt() <= now; now = this.now) {
      if (this.pausedAt === undefined) return this.nextAgenda.first
      this.resume(this.pausedAt, now)
    }
    return undefined
  }

  private ask(poller: Poller, fiber: RuntimeFiber<void>): Effect.Effect<void> {
    const { line } = poller
    const { now } = this
    line.metrics.staleness.unsafeUpdate(now - this.nextDue, [])
    this.leaveSlot(poller)
    this.budget.spend(now)
    count(line.metrics.polls, 1)
    if (poller.lineSlot >= 0) this.countSavedByOrder(poller)
    poller.sentAt = now
    poller.fiber = fiber
    this.asking.add(poller, now + Math.min(this.requestTimeout(poller), this.latency.late))
    return this.request(poller, fiber, now)
  }

  /** Sends a late poll again: beside its first request, or in place of that one if there is no room for two. */
  private askAgain(poller: Poller): void {
    const { job, line } = poller
    const { now } = this
    this.budget.spend(now)
    count(line.metrics.polls, 1)
    const first = poller.fiber
    const before = this.hedges.get(poller)?.second ?? (this.isFull ? first : undefined)
    if (before !== undefined) this.stop(job, before)
    this.fork(Effect.withFiberRuntime<void>((self) => {
      const fiber = self as RuntimeFiber<void>
      const isSecond = before === undefined || before !== first
      if (!isSecond) poller.fiber = fiber
      const patience = this.hedges.isSent(poller, isSecond ? fiber : undefined, now, this.latency.late)
      this.asking.move(-2 - poller.slot, Math.min(poller.sentAt + this.requestTimeout(poller), now + patience))
      return Effect.map(this.request(poller, fiber, now), () => this.pump())
    }))
  }

  private request(poller: Poller, fiber: RuntimeFiber<void>, sentAt: number): Effect.Effect<void> {
    return Effect.matchCauseEffect(this.queue.status(poller.job), {
      onSuccess: (status) => {
        if (!this.isFirst(poller, fiber, sentAt)) return Effect.void
        const mismatch = mismatchOf(poller.job, status)
        return mismatch === undefined ? this.answered(poller, status) : this.refused(poller, Cause.fail(mismatch))
      },
      onFailure: (cause) => this.isFirst(poller, fiber, sentAt) ? this.refused(poller, cause) : Effect.void
    })
  }

  /** Whether this is the first response to a poll. The other request of the poll is stopped. */
  private isFirst(poller: Poller, fiber: RuntimeFiber<void>, sentAt: number): boolean {
    const fibers = this.fibersOf(poller)
    if (!fibers.includes(fiber)) return false
    this.leaveSlot(poller)
    this.hedges.remove(poller)
    for (const other of fibers) if (other !== fiber) this.stop(poller.job, other)
    poller.fiber = fiber
    poller.sentAt = sentAt
    return true
  }

  private requestTimeout(poller: Poller): number {
    let millis = Infinity
    for (let pace: Pace | undefined = poller; pace !== undefined; pace = pace.next) {
      millis = Math.min(millis, Duration.toMillis(pace.policy.deadline.request))
    }
    return millis
  }

  /** The answer to a poll is late, or there has been none for as long as may be. */
  private overdue(poller: Poller, now: number): void {
    const timeout = this.requestTimeout(poller)
    if (now >= poller.sentAt + timeout) return this.giveUp(poller, Duration.millis(timeout))
    this.asking.move(-2 - poller.slot, poller.sentAt + timeout)
    this.hedges.isLate(poller, this.latency.late)
  }

  private timedOut(job: Job.JobRef, after: Duration.Duration): QueueError.ResponseTimeout {
    return new QueueError.ResponseTimeout({ operation: "status", model: job.model, job, after })
  }

  private giveUp(poller: Poller, after: Duration.Duration): void {
    this.leaveSlot(poller)
    this.stopAll(poller)
    const error = this.timedOut(poller.job, after)
    const refused = this.fork(
      Effect.map(Effect.suspend(() => this.refused(poller, Cause.fail(error))), () => this.pump())
    )
    if (refused.unsafePoll() === null) poller.fiber = refused
  }

  private answered(poller: Poller, status: Job.JobStatus): Effect.Effect<void> {
    const { line } = poller
    const { now } = this
    this.latency.add(now - poller.sentAt)
    this.hedges.answered(poller.sentAt)
    this.unspoken = 0
    count(line.metrics.savedBySharing, poller.watchers - 1)
    if (poller.trouble !== undefined) {
      poller.trouble = undefined
      for (let pace: Pace | undefined = poller; pace !== undefined; pace = pace.next) pace.retry = undefined
      poller.each((subscriber) => {
        if (subscriber.trouble !== undefined) subscriber.notify()
      })
    }
    if (status._tag === "Unrecognized") {
      this.endUnrecognized(poller, status, now)
    } else if (poller.status !== undefined && isSame(poller.status, status)) {
      this.seeAgain(poller, now)
    } else {
      const derived = JobState.derive(poller, status, { observedAt: this.dateOf(now) })
      if (Either.isLeft(derived)) return this.fail(poller, Cause.fail(derived.left))
      if (derived.right.stale) count(line.metrics.stale, 1)
      else this.see(poller, status, derived.right, now)
    }
    return this.isStillWatched(poller, now) ? this.pauseOf(poller, poller.status ?? status, now) : Effect.void
  }

  /** A poll has landed: whether anybody watches the job whose deadlines have not passed. */
  private isStillWatched(poller: Poller, now: number): boolean {
    if (poller.lookSince !== -1 && poller.subscribers !== undefined) {
      this.endExpired(poller, now)
      if (poller.subscribers !== undefined) this.expectAnew(poller)
      else this.dropLanded(poller)
    }
    return poller.subscribers !== undefined
  }

  // what the poller runs on is this very poll, and that is over
  private dropLanded(poller: Poller): void {
    poller.fiber = undefined
    this.drop(poller)
  }

  /** The same snapshot. Most are: it is not kept, since what lives no longer than a poll costs little. */
  private seeAgain(poller: Poller, now: number): void {
    poller.at = now
    poller.version++
    if (poller.lineSlot === -2 && !poller.line.is(poller)) this.loseOrder(poller.line, now)
    poller.each((subscriber) => {
      if (subscriber.wants === "polls") subscriber.notify()
    })
  }

  /** Another snapshot, and not a stale one. */
  private see(poller: Poller, status: Job.JobStatus, derivation: Transition.Derivation, now: number): void {
    const { cursor, line } = poller
    const before = poller.status
    line.willBe(poller, status, now)
    if (before?._tag !== status._tag) {
      if (before?._tag === "Pending") this.deepen(line, -1)
      if (status._tag === "Pending") this.deepen(line, 1)
    }
    // one reference will do for all: with a copy in each snapshot, those would take a sixth more room
    JobState.accept(poller, { ...status, job: poller.job }, now, derivation)
    poller.version++
    if (Job.isTerminal(status)) return this.endAll(poller, { ...endOf(poller, undefined), before: cursor })
    const hasMoved = derivation.transitions.length > 0
    if (hasMoved) this.expectAnew(poller)
    if (!line.is(poller)) this.loseOrder(line, now)
    poller.each((subscriber) => {
      if (subscriber.wants === "polls" || (hasMoved && subscriber.wants === "changes")) subscriber.notify()
    })
  }

  private endAll(poller: Poller, end: End): void {
    if (end.error === undefined) this.keep(end)
    poller.each((subscriber) => this.end(poller, subscriber, end))
    this.dropLanded(poller)
  }

  // What nobody can make sense of must neither be skipped in silence nor polled for ever, unless that is asked for.
  private endUnrecognized(poller: Poller, status: Job.Unrecognized, now: number): void {
    const { job, version } = poller
    const error = new QueueError.UnrecognizedStatus({ job, status: status.status, snapshot: status })
    const failed = endOf(poller, Cause.fail(error))
    const ended: End = { job, status, at: now, version: version + 1, before: poller.cursor, error: undefined }
    poller.each((subscriber) => {
      const { unrecognized } = subscriber.policy
      if (unrecognized !== "ignore") this.end(poller, subscriber, unrecognized === "fail" ? failed : ended)
    })
    if (poller.subscribers === undefined) this.dropLanded(poller)
  }

  private loseOrder(line: Line<Poller>, now: number): void {
    count(line.metrics.orderLost, 1)
    this.events.orderLost(this.dateOf(now), line.model)
    for (const poller of line.dissolve()) this.hasten(poller, poller.pause)
  }

  /** The job has not been polled since its last answer, and the next poll is made now. */
  private countSavedByOrder({ at, line, pause }: Poller): void {
    count(line.metrics.savedByOrder, Math.floor((this.now - at) / (pause * this.pauseTime.stretch)) - 1)
  }

  private deepen(line: Line<Poller>, by: number): void {
    line.pending += by
    line.metrics.queueDepth.unsafeUpdate(line.pending, [])
  }

  /** Each pace goes on by one step, and the keenest is followed. */
  private pauseOf(poller: Poller, status: Job.JobStatus, now: number): Effect.Effect<void> {
    const step = (pace: Pace): Effect.Effect<{ readonly pause: number; readonly period: number }> =>
      poller.period === 0
        ? firstPause(pace, this.scheduleTime(pace, now), status)
        // a pause may be a random part of the period again (`Cadence.byPhase`), so one that is shorter counts by degrees
        : Effect.map(Pacer.nextPause(pace, this.scheduleTime(pace, now), status), (pause) => (
          { pause, period: Math.max(pause, poller.period / 2) }
        ))
    if (poller.next === undefined) {
      const { policy } = poller
      return Effect.matchCause(step(poller), {
        onSuccess: ({ pause, period }) => this.schedule(poller, pause, period, now),
        onFailure: (cause) => {
          this.failPace(poller, policy, cause)
          // somebody has joined meanwhile
          if (poller.subscribers !== undefined) this.schedule(poller, poller.pause || defaultPause, 0, now)
        }
      })
    }
    return Effect.gen(this, function*() {
      let pause = Infinity
      let period = Infinity
      const over: Array<readonly [WatchPolicy, Cause.Cause<never>]> = []
      for (const pace of poller.paces) {
        const next = yield* Effect.exit(step(pace))
        if (Exit.isFailure(next)) over.push([pace.policy, next.cause])
        else {
          pause = Math.min(pause, next.value.pause)
          period = Math.min(period, next.value.period)
        }
      }
      for (const [policy, cause] of over) this.failPace(poller, policy, cause)
      if (poller.subscribers === undefined) return
      if (pause === Infinity) this.schedule(poller, poller.pause || defaultPause, 0, now)
      else this.schedule(poller, pause, period, now)
    })
  }

  /** No answer. Those whose retry has come to its end are told; for the others there is another try. */
  private refused(poller: Poller, cause: Cause.Cause<QueueError.QueueError>): Effect.Effect<void> {
    const { now } = this
    const failure = Cause.failureOption(cause)
    if (Option.isNone(failure)) return this.fail(poller, cause)
    const error = failure.value
    const retryAfter = Duration.toMillis(retryAfterOf(error))
    if (error._tag === "RateLimited") this.pauseAll(error, retryAfter, now)
    const known = { state: poller, trouble: poller.trouble }
    const trouble = poller.trouble = troubleOf(poller.trouble, error, now)
    if (!this.isStillWatched(poller, now)) return Effect.void
    return Effect.gen(this, function*() {
      const over: Array<readonly [WatchPolicy, Cause.Cause<QueueError.WatchError>]> = []
      for (const pace of poller.paces) {
        // it did not ask for this try
        if (pace.retry !== undefined && pace.retry.at > now) continue
        const { policy } = pace
        const step = yield* Effect.exit(
          Pacer.step(policy.retry, this.scheduleTime(pace, now), error, pace.retry?.state ?? policy.retry.initial)
        )
        if (Exit.isFailure(step)) {
          over.push([policy, step.cause])
          continue
        }
        const [state, pause] = step.value
        if (pause === undefined) over.push([policy, Cause.fail(final(known, error, now))])
        else pace.retry = { state, at: now + Pacer.retryPause(pause, error) }
      }
      for (const [policy, cause] of over) this.failPace(poller, policy, cause)
      if (poller.subscribers === undefined) return
      // nobody may come sooner than the service asked for
      const due = Math.min(...poller.paces.map(({ retry }) => retry?.at ?? now + shortest))
      this.wait(poller, this.retrying, Math.max(due, trouble.notBefore))
      poller.each((subscriber) => {
        if (subscriber.wants !== "end") subscriber.notify()
      })
    })
  }

  private failPace(poller: Poller, policy: WatchPolicy, error: Cause.Cause<QueueError.WatchError>): void {
    const end = endOf(poller, error)
    const pace = new Pace(policy, 0)
    poller.each((subscriber) => {
      if (pace.fits(subscriber.policy)) this.end(poller, subscriber, end)
    })
    if (poller.subscribers === undefined) this.dropLanded(poller)
  }

  private fail(poller: Poller, error: Cause.Cause<QueueError.WatchError>): Effect.Effect<void> {
    this.endAll(poller, endOf(poller, error))
    return Effect.void
  }

  /** One token, one limit: what the service says to one poll it says to all. */
  private pauseAll(error: QueueError.RateLimited, retryAfter: number, now: number): void {
    const pause = retryAfter > 0 ? retryAfter : Math.min(longestRateLimit, firstRateLimit * 2 ** this.unspoken)
    const isNews = now >= this.pausedUntil
    if (isNews && retryAfter === 0) this.unspoken++
    this.pausedUntil = Math.max(this.pausedUntil, now + pause)
    if (!isNews) return
    this.pausedAt ??= now
    count(Metrics.pauses, 1)
    this.events.paused(this.dateOf(now), this.dateOf(this.pausedUntil), error)
  }

  // ---------------------------------------------------------------------------
  // the end of the watcher
  // ---------------------------------------------------------------------------

  /** Stops every request and the timer; those who watch are interrupted. */
  readonly close: Effect.Effect<void> = Effect.suspend(() => {
    this.isClosed = true
    const fibers: Array<RuntimeFiber<void>> = this.timer === undefined ? [] : [this.timer]
    for (const line of this.lines.values()) {
      // in no order: nobody will be polled any more
      line.dissolve()
      for (const poller of line.pollers.values()) {
        for (const fiber of this.fibersOf(poller)) fibers.push(fiber)
        const end = endOf(poller, interrupted)
        poller.each((subscriber) => this.end(poller, subscriber, end))
        this.drop(poller)
      }
    }
    this.ends.clear()
    this.parked.clear()
    this.arm()
    return Effect.forEach(fibers, (fiber) => awaitEnd(fiber), { discard: true })
  })
}
