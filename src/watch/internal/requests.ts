/**
 * The requests in flight: sent, sent again when late, timed out, and stopped.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import { keyOf } from "../../model/internal/jobKey.js"
import type { JobRef, JobStatus } from "../../model/Job.js"
import type { QueueError } from "../../model/QueueError.js"
import * as Fiber from "../../queue/internal/fiber.js"
import type { Service as JobQueueService } from "../../queue/JobQueue.js"
import type { Executor } from "./executor.js"
import { requestTimeoutOf } from "./expiry.js"
import { Hedges } from "./hedges.js"
import { mismatchOf } from "./outcome.js"
import { makeQueue, type Poller } from "./poller.js"
import type { PollPlan } from "./pollPlan.js"

/** @internal */
export interface Handlers {
  readonly onResponse: (poller: Poller, status: JobStatus) => void
  readonly onError: (poller: Poller, cause: Cause.Cause<QueueError>) => void
  /** A fiber of a poller has ended outside of the loop that sends polls. */
  readonly onSettled: () => void
}

/** @internal */
export class Requests {
  /** By when the response is late, then by when the request times out. */
  private readonly inFlight = makeQueue()
  private readonly hedges = new Hedges()
  /** Interrupted fibers that have not ended yet, by job. */
  private readonly stopping = new Map<string, Set<Fiber.Fiber<unknown, unknown>>>()

  constructor(
    private readonly queue: Pick<JobQueueService, "status">,
    private readonly concurrency: number,
    private readonly plan: PollPlan,
    private readonly executor: Executor,
    private readonly handlers: Handlers
  ) {}

  get isFull(): boolean {
    return this.inFlight.size + this.hedges.seconds >= this.concurrency
  }

  /** When a request is late, times out, or may be sent again. */
  get nextAt(): number {
    return Math.min(this.resendAt, this.inFlight.firstTime)
  }

  send(poller: Poller, fiber: Fiber.Fiber): Effect.Effect<void> {
    const { now } = this.executor
    this.plan.begin(poller, now)
    poller.sentAt = now
    poller.fiber = fiber
    this.inFlight.add(poller, now + Math.min(poller.requestTimeout, this.plan.latency.late))
    return this.request(poller, fiber, now)
  }

  /** Handles the requests that are late or have timed out. */
  checkTimeouts(now: number): void {
    while (this.inFlight.firstTime <= now) this.onLate(this.inFlight.first!, now)
  }

  /** Sends the late polls again that may be. */
  resend(): void {
    while (this.resendAt <= this.executor.now) this.sendAgain(this.hedges.next!)
  }

  private get resendAt(): number {
    return Math.max(this.hedges.nextAt(this.plan.latency.late), this.plan.freeAt)
  }

  /** Sends a late poll again: beside its first request, or in its place if there is no capacity for two. */
  private sendAgain(poller: Poller): void {
    const { now } = this.executor
    this.plan.spend(poller, now)
    const first = poller.fiber
    const replaced = this.hedges.get(poller)?.second ?? (this.isFull ? first : undefined)
    if (replaced !== undefined) this.stop(poller.job, replaced)
    this.executor.fork(Fiber.withSelf<void>((self) => {
      const fiber = self as Fiber.Fiber
      const isSecond = replaced === undefined || replaced !== first
      if (!isSecond) poller.fiber = fiber
      const lateAfter = this.hedges.onSent(poller, isSecond ? fiber : undefined, now, this.plan.latency.late)
      this.inFlight.move(poller.slot, Math.min(this.timeoutAt(poller), now + lateAfter))
      return Effect.map(this.request(poller, fiber, now), this.handlers.onSettled)
    }))
  }

  private request(poller: Poller, fiber: Fiber.Fiber, sentAt: number): Effect.Effect<void> {
    const { onError, onResponse } = this.handlers
    return Effect.matchCause(this.ask(poller.job), {
      onSuccess: (status) => {
        if (!this.isFirst(poller, fiber, sentAt)) return
        const mismatch = mismatchOf(poller.job, status)
        if (mismatch !== undefined) return onError(poller, Cause.fail(mismatch))
        this.plan.onResponse(this.executor.now - sentAt)
        this.hedges.onResponse(sentAt)
        onResponse(poller, status)
      },
      onFailure: (cause) => {
        if (this.isFirst(poller, fiber, sentAt)) onError(poller, cause)
      }
    })
  }

  /** A queue of the app may throw: a defect of the watches. An `Effect.suspend` would cost each poll more. */
  private ask(job: JobRef): Effect.Effect<JobStatus, QueueError> {
    try {
      return this.queue.status(job)
    } catch (defect) {
      return Effect.die(defect)
    }
  }

  /** Whether this is the first response to a poll. Stops the poll's other request. */
  private isFirst(poller: Poller, fiber: Fiber.Fiber, sentAt: number): boolean {
    const fibers = this.fibersOf(poller)
    if (!fibers.includes(fiber)) return false
    this.inFlight.remove(poller.slot)
    this.hedges.remove(poller)
    for (const other of fibers) if (other !== fiber) this.stop(poller.job, other)
    poller.fiber = undefined
    poller.sentAt = sentAt
    return true
  }

  /** A new subscriber may ask for a shorter timeout. */
  shorten(poller: Poller): void {
    if (poller.phase !== "inFlight") return
    const at = this.timeoutAt(poller)
    if (at < this.inFlight.timeOf(poller.slot)) this.inFlight.move(poller.slot, at)
  }

  private timeoutAt(poller: Poller): number {
    return poller.sentAt! + poller.requestTimeout
  }

  private onLate(poller: Poller, now: number): void {
    const timeoutAt = this.timeoutAt(poller)
    if (now >= timeoutAt) return this.onTimeout(poller)
    this.inFlight.move(poller.slot, timeoutAt)
    this.hedges.onLate(poller, poller.sentAt!, this.plan.latency.late)
  }

  private onTimeout(poller: Poller): void {
    const error = requestTimeoutOf(poller.job, poller.requestTimeout)
    this.stopAll(poller)
    this.handlers.onError(poller, Cause.fail(error))
  }

  /** The fibers that run for a poller: its requests, or the wait until stopped ones have ended. */
  private fibersOf(poller: Poller): ReadonlyArray<Fiber.Fiber> {
    return [poller.fiber, this.hedges.get(poller)?.second].filter((fiber) => fiber !== undefined)
  }

  stopAll(poller: Poller): void {
    if (poller.phase === "inFlight") this.inFlight.remove(poller.slot)
    for (const fiber of this.fibersOf(poller)) this.stop(poller.job, fiber)
    this.hedges.remove(poller)
    poller.fiber = undefined
  }

  /** Interrupted fibers of a job that have not ended yet. */
  stoppingOf(job: JobRef): Iterable<Fiber.Fiber<unknown, unknown>> | undefined {
    return this.stopping.size === 0 ? undefined : this.stopping.get(keyOf(job))
  }

  /** Runs `then` after the fibers of the poller's job have ended: two requests of a job are never in flight together. */
  afterStop(poller: Poller, fibers: Iterable<Fiber.Fiber<unknown, unknown>>, then: () => void): void {
    const fiber = this.executor.fork(
      Effect.map(Effect.forEach(fibers, (fiber) => Fiber.awaitEnd(fiber), { discard: true }), () => {
        then()
        this.handlers.onSettled()
      })
    )
    if (Fiber.exitOf(fiber) === null) poller.fiber = fiber
  }

  stop(job: JobRef, fiber: Fiber.Fiber<unknown, unknown>): void {
    const key = keyOf(job)
    const fibers = this.stopping.get(key) ?? new Set()
    this.stopping.set(key, fibers.add(fiber))
    fiber.addObserver(() => {
      fibers.delete(fiber)
      if (fibers.size === 0) this.stopping.delete(key)
    })
    Fiber.interrupt(fiber)
  }
}
