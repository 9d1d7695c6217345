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
import type * as Random from "effect/Random"
import * as Job from "../../model/Job.js"
import * as QueueError from "../../model/QueueError.js"
import type * as Transition from "../../model/Transition.js"
import { shortestPause } from "../../policy/internal/pauses.js"
import { flatMapEager } from "../../policy/internal/schedule.js"
import * as ScheduleDriver from "../../policy/internal/scheduleDriver.js"
import * as Fiber from "../../queue/internal/fiber.js"
import type { Service as JobQueueService } from "../../queue/JobQueue.js"
import { Deadlines } from "./deadlines.js"
import { Executor, Timer } from "./executor.js"
import { inspect } from "./inspection.js"
import * as JobState from "./jobState.js"
import { JoinSteps } from "./joinSteps.js"
import * as Metrics from "./metrics.js"
import type { Inspection, PollingEvent } from "./notice.js"
import { type Inbox, isSameGroup, type Outcome, Poller, type PollGroup, type Subscriber } from "./poller.js"
import { PollPlan, type Settings } from "./pollPlan.js"
import { Requests } from "./requests.js"
import { Retention } from "./retention.js"
import { afterError, afterResponse, firstPause } from "./scheduleSteps.js"

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
  private readonly steps: JoinSteps
  private subscribers = 0
  private isClosed = false
  private isPumping = false

  constructor(
    queue: JobQueueService,
    settings: Settings,
    runtime: Fiber.Runtime,
    clock: Clock.Clock,
    random: Random.Random,
    onEvent: (event: PollingEvent) => void
  ) {
    this.executor = new Executor(runtime, clock)
    this.timer = new Timer(this.executor, () => this.pump())
    this.steps = new JoinSteps(this.executor, () => this.pump())
    this.plan = new PollPlan(settings, this.executor, random, onEvent)
    this.requests = new Requests(queue, settings.concurrency, this.plan, this.executor, {
      onResponse: (poller, status) => this.onResponse(poller, status),
      onError: (poller, cause) => this.onError(poller, cause),
      onSettled: () => this.pump()
    })
    this.deadlines = new Deadlines(queue, (poller, subscriber, outcome) => this.end(poller, subscriber, outcome))
  }

  subscribe(subscriber: Subscriber, job: Job.JobRef): Effect.Effect<void> {
    return Fiber.withSelf((fiber) => {
      if (this.isClosed) return Effect.interrupt
      if (this.subscribers === 0 || this.timer.isLost) {
        this.timer.stop()
        this.executor.adopt(fiber)
      }
      const { now } = this.executor
      subscriber.startedAt = now
      const outcome = this.outcomes.get(job, now)
      if (outcome !== undefined) {
        subscriber.source = outcome
        return Effect.void
      }
      const poller = this.plan.find(job) ?? this.unpark(job, now) ?? this.start(subscriber, job, now)
      subscriber.source = poller
      poller.add(subscriber)
      this.countSubscribers(1)
      this.deadlines.add(poller, subscriber)
      if (subscriber.from !== undefined && poller.phase === "scheduled") {
        this.plan.pollAt(poller, Math.max(now, poller.at + shortestRefresh))
      }
      this.join(poller, subscriber)
      this.pump()
      return Effect.void
    })
  }

  // A new subscriber counts from the last poll, as if it had been there: the latest snapshot is good enough for it until its
  // own cadence, or its own retry, would have polled again.
  private join(poller: Poller, subscriber: Subscriber): void {
    const { policy: { retry } } = subscriber
    const { clockShift, wallEpoch } = this.executor
    const group = poller.join(subscriber.policy, clockShift)
    if (group !== undefined) this.requests.shorten(poller)
    if (poller.trouble !== undefined) {
      const { at, error, notBefore } = poller.trouble
      this.runStep(
        poller,
        subscriber,
        ScheduleDriver.step(retry, wallEpoch + clockShift + at, error, retry.initial),
        ([, pause = 0]) => {
          if (poller.phase !== "retrying") return
          this.plan.pollAt(poller, Math.max(notBefore, at + ScheduleDriver.retryPause(pause, error)))
        }
      )
    } else if (group !== undefined && poller.status !== undefined) {
      this.runStep(
        poller,
        subscriber,
        firstPause(group, poller.status, wallEpoch, poller.at),
        ({ period }) => this.plan.shorten(poller, period)
      )
    }
  }

  /** Runs a step of a subscriber's schedule. User code may die: then the watch ends with its cause. */
  private runStep<A>(poller: Poller, subscriber: Subscriber, step: Effect.Effect<A>, then: (result: A) => void): void {
    this.steps.run(subscriber, step, (exit) => {
      if (subscriber.source !== poller) return
      if (Exit.isSuccess(exit)) return then(exit.value)
      this.end(poller, subscriber, poller.outcome(exit))
      if (!poller.isWatched) this.drop(poller)
    })
  }

  /** Ends all watches of a subscription. */
  unsubscribeAll(inbox: Inbox): Effect.Effect<void> {
    return Effect.suspend(() => this.unsubscribe(this.plan.subscribersOf(inbox)))
  }

  /** Ends watches. The last subscriber of a job stops its requests, which have ended when this effect ends. */
  unsubscribe(subscribers: Iterable<Subscriber>): Effect.Effect<void> {
    return Effect.suspend(() => {
      const timer = this.timer.fiber
      const fibers: Array<Fiber.Fiber> = []
      for (const subscriber of subscribers) {
        const { poller, source } = subscriber
        if (poller !== undefined) {
          this.detach(poller, subscriber)
          if (!poller.isWatched) this.park(poller)
        }
        if (source !== undefined) { for (const fiber of this.requests.stoppingOf(source.job) ?? []) fibers.push(fiber) }
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
  }

  private detach(poller: Poller, subscriber: Subscriber): void {
    this.steps.stop(subscriber)
    subscriber.source = undefined
    poller.remove(subscriber)
    this.countSubscribers(-1)
  }

  private countSubscribers(by: number): void {
    this.subscribers += by
    Metrics.watchers.unsafeUpdate(this.subscribers, [])
  }

  private start({ policy }: Subscriber, job: Job.JobRef, now: number): Poller {
    const ref = Equal.isEqual(job) ? job : Job.ref(job.model, job.requestId)
    const poller = new Poller(ref, this.plan.orderOf(job.model), policy, this.executor.clockShift)
    this.plan.enter(poller)
    const stopping = this.requests.stoppingOf(job)
    if (stopping === undefined) this.plan.pollAt(poller, now)
    else this.pollAfterStop(poller, stopping, now)
    return poller
  }

  /** Keeps the poller for a subscriber that comes before its next poll would be due. */
  private park(poller: Poller): void {
    const until = this.plan.usableUntil(poller)
    this.drop(poller)
    this.parked.set(poller.job, poller, until, this.executor.now)
  }

  private unpark(job: Job.JobRef, now: number): Poller | undefined {
    const parked = this.parked.take(job, now)
    if (parked === undefined) return undefined
    const { until, value: poller } = parked
    poller.order = this.plan.orderOf(job.model)
    this.plan.enter(poller)
    poller.order.afterChange(poller)
    poller.retry = undefined
    if (poller.trouble === undefined) this.plan.schedule(poller, poller.pause, poller.pause, now, poller.at)
    else this.plan.pollAt(poller, until)
    return poller
  }

  private drop(poller: Poller): void {
    this.deadlines.remove(poller)
    this.plan.leave(poller)
    this.requests.stopAll(poller)
  }

  // the poll that has just ended is what runs for the poller: it is not to be stopped
  private dropEnded(poller: Poller): void {
    poller.fiber = undefined
    this.drop(poller)
  }

  private expire(poller: Poller, now: number): void {
    const pollAt = this.deadlines.check(poller, this.plan.pausedUntil, now)
    if (!poller.isWatched) return this.drop(poller)
    if (pollAt === Infinity) return
    if (poller.phase === "scheduled" || poller.phase === "retrying") this.plan.pollAt(poller, pollAt)
    else if (poller.phase === "idle" && poller.sentAt !== undefined && poller.fiber !== undefined) {
      // a slow schedule must not delay the poll that confirms an expiry
      const { fiber } = poller
      this.requests.stop(poller.job, fiber)
      this.pollAfterStop(poller, [fiber], pollAt)
    }
  }

  private pollAfterStop(poller: Poller, fibers: Iterable<Fiber.Fiber>, at: number): void {
    this.requests.afterStop(poller, fibers, () => {
      this.plan.pollAt(poller, at)
      this.checkConfirmation(poller)
    })
  }

  /** The next poll is planned: it comes earlier if it is to confirm an expiry. */
  private checkConfirmation(poller: Poller): void {
    if (poller.confirmingSince !== undefined) this.expire(poller, this.executor.now)
  }

  /** A poll has ended, which may have confirmed an expiry. Returns whether the job is still watched. */
  private isStillWatched(poller: Poller, now: number): boolean {
    if (poller.confirmingSince !== undefined && poller.isWatched) {
      this.deadlines.check(poller, this.plan.pausedUntil, now)
      if (!poller.isWatched) this.dropEnded(poller)
    }
    return poller.isWatched
  }

  private onResponse(poller: Poller, status: Job.JobStatus): Effect.Effect<void> {
    const { now } = this.executor
    const { job, order: { metrics } } = poller
    Metrics.count(metrics.savedBySharing, poller.subscriberCount - 1)
    if (poller.trouble !== undefined) {
      poller.trouble = undefined
      for (const group of poller.groups) group.retry = undefined
      poller.each((subscriber) => {
        if (subscriber.trouble !== undefined) subscriber.notify()
      })
    }
    if (status._tag === "Unrecognized") this.onUnrecognized(poller, status, now)
    else if (poller.status !== undefined && JobState.isSame(poller.status, status)) this.refresh(poller, now)
    else {
      // one reference for all snapshots and cursors of a job: a copy in each would take 150 bytes more. `JobQueue` shares it.
      const snapshot = status.job === job ? status : { ...status, job }
      const derived = JobState.deriveFrom(poller, snapshot, { observedAt: this.executor.dateOf(now) })
      if (Either.isLeft(derived)) {
        this.endAll(poller, poller.outcome(Exit.fail(derived.left)))
        return Effect.void
      }
      if (derived.right.stale) Metrics.count(metrics.stale, 1)
      else this.accept(poller, snapshot, derived.right, now)
    }
    if (!this.isStillWatched(poller, now)) return Effect.void
    return flatMapEager(
      afterResponse(poller, poller.status ?? status, this.executor.wallEpoch, now),
      ({ failed, next }) => {
        for (const [policy, cause] of failed) this.failGroup(poller, policy, cause)
        if (poller.isWatched) {
          this.plan.schedule(poller, next?.pause, next?.period, now)
          this.checkConfirmation(poller)
        }
        return Effect.void
      }
    )
  }

  /** The same snapshot again, as most are. The old object stays: short-lived objects are cheap to collect. */
  private refresh(poller: Poller, now: number): void {
    poller.at = now
    this.plan.afterChange(poller, now)
    poller.each((subscriber) => {
      if (this.hasCaughtUp(poller, subscriber) || subscriber.wants === "polls") subscriber.notify()
    })
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
    this.plan.afterChange(poller, now)
    poller.each((subscriber) => {
      if (
        this.hasCaughtUp(poller, subscriber) || subscriber.wants === "polls" ||
        (hasMoved && subscriber.wants === "changes")
      ) subscriber.notify()
    })
  }

  /** Whether a subscriber that came with a cursor may now take what the poller knows. */
  private hasCaughtUp(poller: Poller, subscriber: Subscriber): boolean {
    if (subscriber.from === undefined) return false
    this.deadlines.add(poller, subscriber)
    return subscriber.from === undefined && subscriber.wants !== "end"
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

  private onError(poller: Poller, cause: Cause.Cause<QueueError.QueueError>): Effect.Effect<void> {
    const { now, wallEpoch } = this.executor
    const failure = Cause.failureOption(cause)
    if (Option.isNone(failure)) {
      this.endAll(poller, poller.outcome(Exit.failCause(cause)))
      return Effect.void
    }
    const error = failure.value
    if (error._tag === "RateLimited") this.plan.pause(error)
    const before = poller.trouble
    const trouble = poller.trouble = JobState.troubleOf(before, error, now)
    if (!this.isStillWatched(poller, now)) return Effect.void
    return Effect.map(afterError(poller, before, error, wallEpoch, now), (failed) => {
      for (const [policy, cause] of failed) this.failGroup(poller, policy, cause)
      if (!poller.isWatched) return
      const due = Math.min(...poller.groups.map(({ retry }) => retry?.at ?? now + shortestPause))
      this.plan.pollAt(poller, Math.max(due, trouble.notBefore))
      this.checkConfirmation(poller)
      poller.each((subscriber) => {
        if (subscriber.wants !== "end") subscriber.notify()
      })
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
    if (!poller.isWatched) this.dropEnded(poller)
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
    const fibers: Array<Fiber.Fiber> = this.timer.fiber === undefined ? [] : [this.timer.fiber]
    this.plan.close()
    for (const poller of this.plan.all) {
      for (const fiber of this.requests.fibersOf(poller)) fibers.push(fiber)
      const outcome = poller.outcome(Exit.failCause(Fiber.interrupted))
      poller.each((subscriber) => this.end(poller, subscriber, outcome))
      this.drop(poller)
    }
    this.outcomes.clear()
    this.parked.clear()
    this.timer.set(Infinity)
    return Effect.forEach(fibers, (fiber) => Fiber.awaitEnd(fiber), { discard: true })
  })
}
