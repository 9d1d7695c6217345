/**
 * A time that passes as soon as nothing is left to do in it.
 *
 * `TestClock` sets a timer of the host before and after each sleeper that it wakes, which comes to milliseconds for each
 * virtual sleep. Here the fibers run on a scheduler of their own, which knows when none of them can run: then the clock
 * jumps to the next moment that somebody waits for.
 *
 * @internal
 */
// What makes a clock can't be made of clocks: here the turns and the timers are those of the host.
// @effect-diagnostics globalTimers:off

import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { RuntimeFiber } from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import * as Scheduler from "effect/Scheduler"
import type * as TestClock from "effect/TestClock"
import { DueQueue } from "../../watch/internal/dueQueue.js"

interface Sleeper {
  readonly turn: number
  readonly wake: () => void
  slot: number
}

// The timers of the host, whether or not a test has put fake ones in their place: those never fire by themselves. A fake
// of `@sinonjs/fake-timers`, which is behind Jest and Vitest, keeps what it replaces in its `clock`.
const hostTimer = <Name extends "clearTimeout" | "setImmediate" | "setTimeout">(
  name: Name
): typeof globalThis[Name] => {
  const timer = globalThis[name] as typeof globalThis[Name] & {
    readonly clock?: { readonly [original: string]: typeof globalThis[Name] | undefined }
  }
  return timer?.clock?.[`_${name}`] ?? timer
}

const setHostTimeout = hostTimer("setTimeout")
const clearHostTimeout = hostTimer("clearTimeout")
const setHostImmediate = "setImmediate" in globalThis ? hostTimer("setImmediate") : undefined

// What the host has ready, promises above all, comes before the next moment.
const afterTheHost = (task: () => void): void => {
  if (setHostImmediate === undefined) setHostTimeout(task, 0)
  else setHostImmediate(task)
}

// After so many rounds without a pause the host gets its turn all the same.
const maxRounds = 1_000

const clocks = new WeakSet<Clock.Clock>()

/** @internal */
export class VirtualTime implements Scheduler.Scheduler {
  /** Sleepers of the same moment wake in the order in which they fell asleep. */
  private readonly sleepers = new DueQueue<Sleeper>(
    (sleeper, slot) => {
      sleeper.slot = slot
    },
    (a, b) => a.turn < b.turn
  )
  private readonly tasks = new Scheduler.PriorityBuckets()
  private turns = 0
  private running = false
  private over = false
  private giveUp: ReturnType<typeof setTimeout> | undefined

  /**
   * @param now where the time begins, in milliseconds since the epoch
   * @param end how far it may get
   * @param patience how many real milliseconds are waited where nothing is left that could happen in this time
   * @param onStuck is told that nothing will happen any more, or not before the end
   */
  constructor(
    private now: number,
    private readonly end: number,
    private readonly patience: number,
    private readonly onStuck: (why: "end" | "nothing left", now: number) => void
  ) {
    clocks.add(this.clock)
  }

  /** With what a test does to its clock: in here, that is to wait. */
  readonly clock: Clock.Clock & Pick<TestClock.TestClock, "adjust" | "setTime"> = {
    [Clock.ClockTypeId]: Clock.ClockTypeId,
    unsafeCurrentTimeMillis: () => this.now,
    unsafeCurrentTimeNanos: () => this.nanos,
    currentTimeMillis: Effect.sync(() => this.now),
    currentTimeNanos: Effect.sync(() => this.nanos),
    sleep: (duration) => this.sleep(duration),
    adjust: (duration) => this.sleep(Duration.decode(duration)),
    setTime: (instant) => Effect.suspend(() => this.sleep(Duration.millis(instant - this.now)))
  }

  /** Whether this is the clock of such a time. */
  static isClock(clock: Clock.Clock): boolean {
    return clocks.has(clock)
  }

  get currentTimeMillis(): number {
    return this.now
  }

  private get nanos(): bigint {
    return BigInt(Math.round(this.now * 1_000)) * 1_000n
  }

  private sleep(duration: Duration.Duration): Effect.Effect<void> {
    return Effect.async((resume) => {
      const at = this.now + Math.max(0, Duration.toMillis(duration))
      const sleeper: Sleeper = { turn: this.turns++, wake: () => resume(Effect.void), slot: -1 }
      // a sleep without an end never wakes
      if (at < Infinity) this.sleepers.add(sleeper, at)
      return Effect.sync(() => this.sleepers.remove(sleeper.slot))
    })
  }

  scheduleTask(task: Scheduler.Task, priority: number): void {
    this.tasks.scheduleTask(task, priority)
    if (this.running) return
    this.running = true
    clearHostTimeout(this.giveUp)
    // `queueMicrotask` may be a fake as well
    void Promise.resolve().then(this.run)
  }

  shouldYield(fiber: RuntimeFiber<unknown, unknown>): number | false {
    return fiber.currentOpCount > fiber.getFiberRef(FiberRef.currentMaxOpsBeforeYield)
      ? fiber.getFiberRef(FiberRef.currentSchedulingPriority)
      : false
  }

  /** Nothing more will be asked of this time. */
  stop(): void {
    this.over = true
    clearHostTimeout(this.giveUp)
  }

  private readonly run = (): void => {
    for (let round = 0; this.tasks.buckets.length > 0 && round < maxRounds; round++) {
      const { buckets } = this.tasks
      this.tasks.buckets = []
      for (const [, tasks] of buckets) {
        for (const task of tasks) task()
      }
    }
    afterTheHost(this.turn)
  }

  private readonly turn = (): void => {
    if (this.tasks.buckets.length > 0) return this.run()
    if (this.over) {
      this.running = false
      return
    }
    const next = this.sleepers.firstTime
    if (next === Infinity || next > this.end) {
      this.running = false
      // what comes from outside, if anything does, comes in its own time
      this.giveUp = setHostTimeout(
        () => this.onStuck(next === Infinity ? "nothing left" : "end", this.now),
        next === Infinity ? this.patience : 0
      )
      return
    }
    this.now = next
    while (this.sleepers.firstTime === next) this.sleepers.pop()!.wake()
    this.run()
  }
}
