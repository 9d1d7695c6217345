/**
 * Polls all jobs of a watcher, and notifies their subscribers.
 *
 * A job is a record, not a fiber: fibers exist only for requests in flight, and for the timer.
 */
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Job from "../../model/Job.js"
import * as QueueError from "../../model/QueueError.js"
import * as Transition from "../../model/Transition.js"
import * as Fiber from "../../queue/internal/fiber.js"
import type { Service as JobQueueService } from "../../queue/JobQueue.js"
import { Deadlines } from "./deadlines.js"
import { Executor, Timer } from "./executor.js"
import { inspect } from "./inspection.js"
import * as JobState from "./jobState.js"
import * as Metrics from "./metrics.js"
import type { Inspection, PollingEvent } from "./notice.js"
import { type Inbox, isSameGroup, type Outcome, Poller, type PollGroup, Subscriber } from "./poller.js"
import { PollPlan, type Settings } from "./pollPlan.js"
import { Requests } from "./requests.js"
import { Retention } from "./retention.js"
import { type Answer, type Pause, Schedules, type Try } from "./schedules.js"

// how long the outcome of a job is kept, and of how many jobs
const outcomeRetention = Duration.toMillis(Duration.minutes(5))
const maxRetained = 1_000

// Polls that are due less than this many milliseconds after others are sent together: to wake up costs as much as some
// polls do.
const shortestWait = 5

// A subscriber that may know more than the poller has a poll so many milliseconds after the last one. Many that come again
// together, as after a restart, share it.
const shortestRefresh = 1_000

/** @internal */
export class Scheduler {
  readonly executor: Executor
  readonly plan: PollPlan
  private readonly timer: Timer
  private readonly requests: Requests
  private readonly deadlines: Deadlines
  private readonly outcomes = new Retention<Outcome>(maxRetained)
  /** Pollers without subscribers, until their next polls would be due. */
  private readonly parked = new Retention<Poller>(maxRetained)
  private readonly schedules: Schedules
  private subscribers = 0
  private isClosed = false
  private isPumping = false

  constructor(
    queue: Pick<JobQueueService, "status" | "cancel">,
    settings: Settings,
    runtime: Fiber.Runtime,
    clock: Clock.Clock,
    onEvent: (event: PollingEvent) => void,
    clockAhead: () => number
  ) {
    this.executor = new Executor(runtime, clock)
    this.timer = new Timer(this.executor, () => this.pump())
    this.schedules = new Schedules(this.executor, clockAhead, () => this.pump())
    this.plan = new PollPlan(settings, this.executor, onEvent)
    this.requests = new Requests(queue, settings.concurrency, this.plan, this.executor, {
      onResponse: (poller, status) => this.onResponse(poller, status),
      onError: (poller, cause) => this.onError(poller, cause),
      onSettled: () => this.pump()
    })
    this.deadlines = new Deadlines(queue, (poller, subscriber, outcome) => this.end(poller, subscriber, outcome))
  }

  /** Begins a watch, in some fiber, unless the watcher is closed. */
  subscribe(
    inbox: Inbox,
    job: Job.JobRef,
    from: Transition.Cursor | undefined,
    fiber: Fiber.Fiber<unknown, unknown>
  ): Subscriber | undefined {
    if (this.isClosed) return undefined
    if (this.subscribers === 0 || this.timer.isLost) {
      this.timer.stop()
      this.executor.adopt(fiber)
    }
    const { now } = this.executor
    const source = this.outcomes.get(job, now) ?? this.plan.find(job) ?? this.unpark(job, now) ??
      this.start(inbox.options.policy, job, now)
    const subscriber = new Subscriber(inbox, source, from, now)
    if (source instanceof Poller) this.follow(source, subscriber, now)
    // also after an outcome: the timer may have been stopped
    this.pump()
    // before any other fiber runs, which may take the end of the watch
    if (subscriber.hasNews) subscriber.notify()
    return subscriber
  }

  private follow(poller: Poller, subscriber: Subscriber, now: number): void {
    poller.add(subscriber)
    this.countSubscribers(1)
    this.deadlines.add(poller, subscriber)
    if (subscriber.from !== undefined && poller.phase === "scheduled") {
      this.plan.pollAt(poller, Math.max(now, poller.at + shortestRefresh))
    }
    this.join(poller, subscriber)
  }

  // A new subscriber counts from the last poll, as if it had been there: the latest snapshot is good enough for it until its
  // own cadence, or the first try of its own retry, would have polled again.
  private join(poller: Poller, { policy }: Subscriber): void {
    const added = poller.join(policy, this.executor.clockShift)
    if (added !== undefined) this.requests.shorten(poller)
    const { at, status, trouble } = poller
    if (trouble !== undefined) {
      this.schedules.askFirstTry(poller, policy, trouble, (answers) => this.onTries(poller, answers))
    } else if (added !== undefined && status !== undefined) {
      this.schedules.askPeriod(added, status, at, (answers) => this.onPauses(poller, answers, at))
    }
  }

  /** Ends watches. The last subscriber of a job stops its requests, which have ended when this effect ends. */
  unsubscribe(subscribers: Iterable<Subscriber>): Effect.Effect<void> {
    return Effect.suspend(() => {
      const timer = this.timer.fiber
      const fibers: Array<Fiber.Fiber<unknown, unknown>> = []
      for (const subscriber of subscribers) {
        const { job, poller } = subscriber
        if (poller !== undefined) {
          this.detach(poller, subscriber)
          subscriber.state = "removed"
          if (!poller.isWatched) this.park(poller)
        }
        for (const fiber of this.requests.stoppingOf(job) ?? []) fibers.push(fiber)
      }
      this.pump()
      if (timer !== undefined && this.timer.fiber !== timer) fibers.push(timer)
      return Effect.forEach(fibers, (fiber) => Fiber.awaitEnd(fiber), { discard: true })
    })
  }

  private end(poller: Poller, subscriber: Subscriber, outcome: Outcome): void {
    this.detach(poller, subscriber)
    subscriber.source = outcome
    subscriber.notify()
    if (!poller.isWatched) this.drop(poller)
  }

  private detach(poller: Poller, subscriber: Subscriber): void {
    const step = poller.remove(subscriber)
    if (step !== undefined) this.requests.stop(poller.job, step)
    this.countSubscribers(-1)
  }

  private countSubscribers(by: number): void {
    this.subscribers += by
    this.plan.metrics.watchers.unsafeModify(by, [])
  }

  private start(policy: PollGroup["policy"], job: Job.JobRef, now: number): Poller {
    const ref = Equal.isEqual(job) ? job : Job.ref(job.model, job.requestId)
    const poller = new Poller(ref, this.plan.orderOf(job.model), policy, this.executor.clockShift)
    this.plan.enter(poller)
    const stopping = this.requests.stoppingOf(job)
    if (stopping === undefined) this.plan.pollAt(poller, now)
    else {
      this.requests.afterStop(poller, stopping, () => {
        this.plan.pollAt(poller, now)
        this.checkConfirmation(poller)
      })
    }
    return poller
  }

  /** Keeps the poller for a subscriber that comes before its next poll would be due. */
  private park(poller: Poller): void {
    const until = this.plan.usableUntil(poller)
    this.drop(poller)
    this.parked.set(poller.job, poller, until, this.executor.now)
  }

  private unpark(job: Job.JobRef, now: number): Poller | undefined {
    const poller = this.parked.take(job, now)
    if (poller === undefined) return undefined
    poller.order = this.plan.orderOf(job.model)
    this.plan.enter(poller)
    poller.order.afterChange(poller)
    poller.retry = undefined
    // in trouble, the retry of the subscriber plans the next poll
    if (poller.trouble === undefined) this.plan.schedule(poller, poller.pause, poller.pause, now, poller.at)
    return poller
  }

  private drop(poller: Poller): void {
    this.deadlines.remove(poller)
    this.plan.leave(poller)
    this.requests.stopAll(poller)
  }

  private expire(poller: Poller, now: number): void {
    const pollAt = this.deadlines.check(poller, this.plan.pausedUntil, now)
    // a slow schedule must not delay the poll that confirms an expiry
    if (pollAt < Infinity && poller.isPlannable) this.plan.pollAt(poller, pollAt)
  }

  /** The next poll is planned: it comes earlier if it is to confirm an expiry. */
  private checkConfirmation(poller: Poller): void {
    if (poller.confirmingSince !== undefined) this.expire(poller, this.executor.now)
  }

  /** A poll has ended, which may have confirmed an expiry. Returns whether the job is still watched. */
  private isStillWatched(poller: Poller, now: number): boolean {
    if (poller.confirmingSince !== undefined) this.deadlines.check(poller, this.plan.pausedUntil, now)
    return poller.isWatched
  }

  private onResponse(poller: Poller, status: Job.JobStatus): void {
    const { now } = this.executor
    const { job, order: { metrics } } = poller
    Metrics.count(metrics.savedBySharing, poller.subscriberCount - 1)
    if (poller.trouble !== undefined) {
      poller.trouble = undefined
      for (const group of poller.groups) group.retry = undefined
      this.stopSteps(poller)
      poller.each((subscriber) => {
        if (subscriber.trouble !== undefined) subscriber.notify()
      })
    }
    if (status._tag === "Unrecognized") this.onUnrecognized(poller, status, now)
    else if (poller.status !== undefined && JobState.isSame(poller.status, status)) {
      // the old object stays: most polls return the same again, and short-lived objects are cheap to collect
      poller.at = now
      this.onSnapshot(poller, false, now)
    } else {
      // one reference for all snapshots and cursors of a job: a copy in each would take 150 bytes more. `JobQueue` shares it.
      const snapshot = status.job === job ? status : { ...status, job }
      const observedAt = this.executor.dateOf(now)
      const derived = Transition.derive(Option.fromNullable(poller.cursor), snapshot, { observedAt })
      if (Either.isLeft(derived)) return this.endAll(poller, poller.outcome(Exit.fail(derived.left)))
      if (derived.right.stale) Metrics.count(metrics.stale, 1)
      else this.accept(poller, snapshot, derived.right, now)
    }
    if (!this.isStillWatched(poller, now)) return
    this.schedules.askPauses(poller, poller.status ?? status, now, (answers) => this.onPauses(poller, answers, now))
  }

  /** Cadences have returned their pauses, after a response at `from`. */
  private onPauses(poller: Poller, answers: ReadonlyArray<Answer<Pause>>, from: number): void {
    let pause = Infinity
    let period = Infinity
    for (const [group, exit] of answers) {
      if (Exit.isFailure(exit)) this.failGroup(poller, group.policy, exit.cause)
      else {
        const next = exit.value
        group.state = next.state
        pause = Math.min(pause, next.pause)
        // a pause may be a random part of the period (`Cadence.byPhase`), so a shorter one lowers the period by degrees
        period = Math.min(period, next.period ?? Math.max(next.pause, (poller.period ?? 0) / 2))
      }
    }
    if (pause === Infinity) return
    if (poller.phase !== "idle") this.plan.shorten(poller, pause, period)
    else if (poller.isPlannable) this.plan.schedule(poller, pause, period, this.executor.now, from)
    this.checkConfirmation(poller)
  }

  // those of cadences when trouble begins, those of retries when it ends
  private stopSteps(poller: Poller): void {
    for (const group of poller.groups) {
      if (group.step === undefined) continue
      this.requests.stop(poller.job, group.step)
      group.step = undefined
    }
  }

  /** Another snapshot that is not stale. */
  private accept(poller: Poller, status: Job.JobStatus, derivation: Transition.Derivation, now: number): void {
    const { cursor, job } = poller
    poller.order.beforeChange(poller, status, now)
    JobState.accept(poller, status, now, derivation)
    if (Job.isTerminal(status)) {
      poller.order.metrics.pollsPerJob.unsafeUpdate(poller.polls, [])
      const outcome = { ...poller.outcome(Exit.void), before: cursor }
      this.outcomes.set(job, outcome, now + outcomeRetention, now)
      return this.endAll(poller, outcome)
    }
    const hasMoved = derivation.transitions.length > 0
    if (hasMoved) this.deadlines.refresh(poller)
    this.onSnapshot(poller, hasMoved, now)
  }

  /** The poller has its latest snapshot, and the job is not at its end. */
  private onSnapshot(poller: Poller, hasMoved: boolean, now: number): void {
    this.plan.afterChange(poller, now)
    poller.each((subscriber) => {
      if (
        this.catchesUp(poller, subscriber) || subscriber.wants === "polls" ||
        (hasMoved && subscriber.wants === "changes")
      ) subscriber.notify()
    })
  }

  /** Whether a subscriber that came with a cursor may take what the poller knows from this snapshot on. */
  private catchesUp(poller: Poller, subscriber: Subscriber): boolean {
    if (subscriber.from === undefined || !subscriber.catchUp()) return false
    this.deadlines.add(poller, subscriber)
    return subscriber.wants !== "end"
  }

  // by default an unknown state is neither skipped nor polled for ever
  private onUnrecognized(poller: Poller, status: Job.Unrecognized, now: number): void {
    const { job } = poller
    const error = new QueueError.UnrecognizedStatus({ job, status: status.status, snapshot: status })
    const outcomes = {
      fail: poller.outcome(Exit.fail(error)),
      end: { ...poller.outcome(Exit.void), status, at: now },
      ignore: undefined
    }
    this.endEach(poller, ({ policy }) => outcomes[policy.unrecognized])
  }

  private onError(poller: Poller, cause: Cause.Cause<QueueError.QueueError>): void {
    const { now } = this.executor
    const failure = Cause.failureOption(cause)
    if (Option.isNone(failure)) return this.endAll(poller, poller.outcome(Exit.failCause(cause)))
    const error = failure.value
    if (error._tag === "RateLimited") this.plan.pause(error)
    const before = poller.trouble
    if (before === undefined) this.stopSteps(poller)
    poller.trouble = JobState.troubleOf(before, error, now)
    if (!this.isStillWatched(poller, now)) return
    const noneLeft = () => JobState.withKnown(error, poller, before, now)
    this.schedules.askTries(poller, error, now, noneLeft, (answers) => this.onTries(poller, answers))
  }

  /** Retries have returned their next tries. */
  private onTries(poller: Poller, answers: ReadonlyArray<Answer<Try, QueueError.QueueError>>): void {
    for (const [group, exit] of answers) {
      if (Exit.isSuccess(exit)) group.retry = exit.value
      else this.failGroup(poller, group.policy, exit.cause)
    }
    const { groups, trouble } = poller
    if (trouble === undefined) return
    const due = Math.min(...groups.map(({ retry }) => retry?.at ?? Infinity))
    if (due === Infinity) return
    if (poller.isPlannable) this.plan.pollAt(poller, Math.max(due, trouble.notBefore))
    this.checkConfirmation(poller)
    poller.each((subscriber) => {
      if (subscriber.wants !== "end") subscriber.notify()
    })
  }

  private failGroup(poller: Poller, policy: PollGroup["policy"], cause: Cause.Cause<QueueError.WatchError>): void {
    const outcome = poller.outcome(Exit.failCause(cause))
    this.endEach(poller, (subscriber) => isSameGroup(policy, subscriber.policy) ? outcome : undefined)
  }

  private endAll(poller: Poller, outcome: Outcome): void {
    this.endEach(poller, () => outcome)
  }

  /** Ends the watches for which there is an outcome, after a poll. */
  private endEach(poller: Poller, outcomeOf: (subscriber: Subscriber) => Outcome | undefined): void {
    poller.each((subscriber) => {
      const outcome = outcomeOf(subscriber)
      if (outcome !== undefined) this.end(poller, subscriber, outcome)
    })
  }

  inspect(model: string): Inspection {
    return inspect(model, this.plan, this.deadlines, this.outcomes, this.executor)
  }

  /** Does everything that is due, and sets the timer for what comes next. */
  private pump(): void {
    if (this.isPumping) return
    this.isPumping = true
    const { now } = this.executor
    this.requests.checkTimeouts(now)
    while (this.deadlines.nextAt <= now) this.expire(this.deadlines.first!, now)
    this.requests.resend()
    while (this.nextPollAt <= this.executor.now) this.executor.fork(this.pollDue)
    this.isPumping = false
    const nextPollAt = Math.max(this.nextPollAt, now + shortestWait)
    this.timer.set(Math.min(nextPollAt, this.requests.nextAt, this.deadlines.nextAt))
  }

  private get nextPollAt(): number {
    return this.requests.isFull ? Infinity : this.plan.nextAt
  }

  /** Polls one due job after another. One fiber for all: a fiber a poll would double the cost. */
  private readonly pollDue: Effect.Effect<void> = Fiber.withSelf<void>((fiber) => {
    let next: Poller | undefined
    return Effect.map(
      Effect.whileLoop({
        while: () => (next = this.requests.isFull ? undefined : this.plan.next(this.executor.now)) !== undefined,
        // `while` has set it
        body: () => this.requests.send(next!, fiber as Fiber.Fiber),
        step: () => {}
      }),
      () => this.pump()
    )
  })

  /** Stops all requests and the timer, and interrupts all watches. */
  readonly close: Effect.Effect<void> = Effect.suspend(() => {
    this.isClosed = true
    const fibers: Array<Fiber.Fiber<unknown, unknown>> = this.timer.fiber === undefined ? [] : [this.timer.fiber]
    this.plan.close()
    for (const poller of this.plan.all) {
      this.endAll(poller, poller.outcome(Exit.failCause(Fiber.interrupted)))
      for (const fiber of this.requests.stoppingOf(poller.job) ?? []) fibers.push(fiber)
    }
    this.outcomes.clear()
    this.parked.clear()
    this.timer.set(Infinity)
    return Effect.forEach(fibers, (fiber) => Fiber.awaitEnd(fiber), { discard: true })
  })
}
