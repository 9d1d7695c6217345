/**
 * Where a watcher runs: its clock, its fibers and its timer. Times are milliseconds since the watcher was made: V8 stores
 * small integers without an object on the heap.
 */
import type * as Clock from "effect/Clock"
import type * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Time from "../../model/internal/time.js"
import { maxPause } from "../../policy/internal/pauses.js"
import * as Fiber from "../../queue/internal/fiber.js"

/** @internal */
export class Executor {
  /** The monotonic time when the watcher was made. */
  readonly epoch: number
  /** The time of the wall clock when the watcher was made. */
  readonly wallEpoch: number
  private runtime: Fiber.Runtime

  constructor(private readonly base: Fiber.Runtime, private clock: Clock.Clock) {
    this.runtime = base
    this.epoch = Time.monotonic(clock)
    this.wallEpoch = this.epoch + Time.wallOffset(clock)
  }

  get now(): number {
    // V8 keeps the result of a subtraction as a double (16 bytes wherever it is stored) unless it is floored
    return Math.floor(Time.monotonic(this.clock) - this.epoch)
  }

  /** How far the wall clock has been set since the watcher was made. An integer: every watched job keeps one. */
  get clockShift(): number {
    return Math.round(this.epoch + Time.wallOffset(this.clock) - this.wallEpoch)
  }

  dateOf(time: number): DateTime.Utc {
    return Time.dateOf(this.clock, this.epoch + time)
  }

  fork<A, E>(effect: Effect.Effect<A, E>): Fiber.Fiber<A, E> {
    return Fiber.fork(this.runtime, effect)
  }

  runSync<A>(effect: Effect.Effect<A>): A {
    return Fiber.runSync(this.runtime, effect)
  }

  /**
   * Uses the clock and the scheduler of a subscriber from now on. A test may give a subscriber others than those of the
   * fiber that made the watcher.
   */
  adopt(fiber: Fiber.Fiber<unknown, unknown>): void {
    this.clock = Fiber.clockOf(fiber)
    // one span a watch, not a poll
    this.runtime = Fiber.untracedRuntimeLike(this.base, fiber)
  }
}

const longestSleep = Duration.toMillis(maxPause)

// after this time the timer is lost
const tolerance = 1_000

/** Calls `onTime` at one time, which may be replaced. @internal */
export class Timer {
  fiber: Fiber.Fiber | undefined = undefined
  private at = Infinity

  constructor(private readonly executor: Executor, private readonly onTime: () => void) {}

  // on Cloudflare Workers a timer ends with the request that set it
  get isLost(): boolean {
    return this.fiber !== undefined && this.executor.now > this.at + tolerance
  }

  set(at: number): void {
    // a timer that fires early does no harm, and needs no replacement
    if (at === Infinity || at < this.at) this.stop()
    if (this.fiber !== undefined || at === Infinity) return
    this.at = at
    const { executor } = this
    const fiber = executor.fork(Effect.sleep(Math.min(longestSleep, Math.max(0, at - executor.now))))
    this.fiber = fiber
    fiber.addObserver(() => {
      if (this.fiber !== fiber) return
      this.fiber = undefined
      this.onTime()
    })
  }

  stop(): void {
    if (this.fiber !== undefined) Fiber.interrupt(this.fiber)
    this.fiber = undefined
  }
}
