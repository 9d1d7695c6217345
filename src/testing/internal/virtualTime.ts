/**
 * A clock that jumps to the next sleeper whenever no fiber can run.
 *
 * `TestClock` uses a timer of the host before and after each sleeper that it wakes, which costs milliseconds. Here the
 * fibers run on their own scheduler, which knows when none of them can run.
 *
 * @internal
 */
// A clock cannot be made of clocks: this file uses the timers of the host.
// @effect-diagnostics globalTimers:off

import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Scheduler from "effect/Scheduler"
import type * as TestClock from "effect/TestClock"
import { DueQueue } from "../../watch/internal/dueQueue.js"

interface Sleeper {
  readonly sequence: number
  readonly wake: () => void
  slot: number
}

// The timers of the host, also if a test has installed fake ones, which do not fire by themselves. The fake timers of Jest
// and Vitest (`@sinonjs/fake-timers`) keep the originals in their `clock`.
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

// Lets the host run what is ready, promises above all, before the clock jumps.
const afterTheHost: (task: () => void) => unknown = "setImmediate" in globalThis
  ? hostTimer("setImmediate")
  : (task) => setHostTimeout(task, 0)

// The host gets a turn after this many rounds without a pause.
const maxRounds = 1_000

// How many real milliseconds `run` waits for the world outside when no fiber can run.
const maxRealWait = 2_000

/** A clock whose time is set by hand. @internal */
export abstract class ManualClock implements Clock.Clock {
  readonly [Clock.ClockTypeId]: Clock.ClockTypeId = Clock.ClockTypeId

  /** @param now the time at the start, in milliseconds since the epoch */
  constructor(public now: number) {}

  abstract sleep(duration: Duration.Duration): Effect.Effect<void>

  readonly currentTimeMillis = Effect.sync(() => this.now)

  readonly currentTimeNanos = Effect.sync(() => this.unsafeCurrentTimeNanos())

  unsafeCurrentTimeMillis(): number {
    return this.now
  }

  unsafeCurrentTimeNanos(): bigint {
    return BigInt(Math.round(this.now * 1_000)) * 1_000n
  }
}

type Stuck = "past the limit" | "nothing left"

/** The clock and the scheduler. `adjust` and `setTime`, which a test may call, sleep. @internal */
export class VirtualTime extends ManualClock
  implements Scheduler.Scheduler, Pick<TestClock.TestClock, "adjust" | "setTime">
{
  /** Sleepers of the same moment wake in the order in which they fell asleep. */
  private readonly sleepers = new DueQueue<Sleeper>(
    (sleeper, slot) => {
      sleeper.slot = slot
    },
    (a, b) => a.sequence < b.sequence
  )
  private readonly ready = new Scheduler.ControlledScheduler()
  private sequence = 0
  private running = false
  private stopped = false
  private timeout: ReturnType<typeof setTimeout> | undefined

  /**
   * @param now the time at the start, in milliseconds since the epoch
   * @param end the limit of the time
   * @param shouldYield after which operations fibers yield
   * @param onStuck called if no fiber can run any more, or none before the limit
   */
  constructor(
    now: number,
    private readonly end: number,
    readonly shouldYield: Scheduler.Scheduler["shouldYield"],
    private readonly onStuck: (why: Stuck, now: number) => void
  ) {
    super(now)
  }

  adjust(duration: Duration.DurationInput): Effect.Effect<void> {
    return this.sleep(Duration.decode(duration))
  }

  setTime(instant: number): Effect.Effect<void> {
    return Effect.suspend(() => this.sleep(Duration.millis(instant - this.now)))
  }

  sleep(duration: Duration.Duration): Effect.Effect<void> {
    return Effect.async((resume) => {
      const at = this.now + Math.max(0, Duration.toMillis(duration))
      const sleeper: Sleeper = { sequence: this.sequence++, wake: () => resume(Effect.void), slot: -1 }
      // an infinite sleep has no end to wake at
      if (at < Infinity) this.sleepers.add(sleeper, at)
      return Effect.sync(() => this.sleepers.remove(sleeper.slot))
    })
  }

  scheduleTask(task: Scheduler.Task, priority: number): void {
    this.ready.scheduleTask(task, priority)
    if (this.running) return
    this.running = true
    clearHostTimeout(this.timeout)
    // `queueMicrotask` may be fake as well
    void Promise.resolve().then(this.run)
  }

  /** Lets fibers run, but the time does not pass any more. */
  stop(): void {
    this.stopped = true
    clearHostTimeout(this.timeout)
  }

  private get hasReady(): boolean {
    return this.ready.tasks.buckets.length > 0
  }

  private readonly run = (): void => {
    for (let round = 0; this.hasReady && round < maxRounds; round++) this.ready.step()
    afterTheHost(this.turn)
  }

  private readonly turn = (): void => {
    if (this.hasReady) return this.run()
    if (this.stopped) {
      this.running = false
      return
    }
    const next = this.sleepers.firstTime
    if (next === Infinity || next > this.end) {
      this.running = false
      // what comes from outside may take some real time
      this.timeout = setHostTimeout(
        () => this.onStuck(next === Infinity ? "nothing left" : "past the limit", this.now),
        next === Infinity ? maxRealWait : 0
      )
      return
    }
    this.now = next
    while (this.sleepers.firstTime === next) this.sleepers.pop()!.wake()
    this.run()
  }
}

/** Whether this is Effect's test clock, which a test moves; the clock above moves by itself. @internal */
export const isTestClock = (clock: Clock.Clock): clock is TestClock.TestClock => "sleeps" in clock
