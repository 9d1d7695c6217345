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

import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
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
const setHostImmediate = "setImmediate" in globalThis ? hostTimer("setImmediate") : undefined

// Lets the host run what is ready, promises above all, before the clock jumps.
const afterTheHost = (task: () => void): void => {
  if (setHostImmediate === undefined) setHostTimeout(task, 0)
  else setHostImmediate(task)
}

// The host gets a turn after this many rounds without a pause.
const maxRounds = 1_000

// How many real milliseconds `run` waits for the world outside when no fiber can run.
const maxRealWait = 2_000

const clocks = new WeakSet<Clock.Clock>()

type Stuck = "past the limit" | "nothing left"

class VirtualTime implements Scheduler.Scheduler {
  /** Sleepers of the same moment wake in the order in which they fell asleep. */
  private readonly sleepers = new DueQueue<Sleeper>(
    (sleeper, slot) => {
      sleeper.slot = slot
    },
    (a, b) => a.sequence < b.sequence
  )
  private readonly tasks = new Scheduler.PriorityBuckets()
  private sequence = 0
  private running = false
  private stopped = false
  private timeout: ReturnType<typeof setTimeout> | undefined

  /**
   * @param now the time at the start, in milliseconds since the epoch
   * @param end the limit of the time
   * @param onStuck called if no fiber can run any more, or none before the limit
   */
  constructor(
    private now: number,
    private readonly end: number,
    private readonly onStuck: (why: Stuck, now: number) => void
  ) {
    clocks.add(this.clock)
  }

  /** The clock. `adjust` and `setTime`, which a test may call, sleep. */
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
      const sleeper: Sleeper = { sequence: this.sequence++, wake: () => resume(Effect.void), slot: -1 }
      // an infinite sleep has no end to wake at
      if (at < Infinity) this.sleepers.add(sleeper, at)
      return Effect.sync(() => this.sleepers.remove(sleeper.slot))
    })
  }

  scheduleTask(task: Scheduler.Task, priority: number): void {
    this.tasks.scheduleTask(task, priority)
    if (this.running) return
    this.running = true
    clearHostTimeout(this.timeout)
    // `queueMicrotask` may be fake as well
    void Promise.resolve().then(this.run)
  }

  shouldYield(fiber: Fiber.RuntimeFiber<unknown, unknown>): number | false {
    return fiber.currentOpCount > fiber.getFiberRef(FiberRef.currentMaxOpsBeforeYield)
      ? fiber.getFiberRef(FiberRef.currentSchedulingPriority)
      : false
  }

  /** Lets fibers run, but the time does not pass any more. */
  stop(): void {
    this.stopped = true
    clearHostTimeout(this.timeout)
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

const defaultLimit = Duration.days(30)

/** @internal */
export const isTestClock = (clock: Clock.Clock): clock is TestClock.TestClock => "setTime" in clock

const withLock = Effect.unsafeMakeSemaphore(1)

// Never back: several runs may end at once, and to set the clock takes some turns of the host.
const forward = (clock: TestClock.TestClock, time: VirtualTime): Effect.Effect<void> =>
  withLock.withPermits(1)(
    Effect.suspend(() => clock.setTime(Math.max(clock.unsafeCurrentTimeMillis(), time.currentTimeMillis)))
  )

/** Runs an effect in virtual time, and sets the test clock, if there is one, to the time at the end. @internal */
export const run = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  options: { readonly limit?: Duration.DurationInput | undefined }
): Effect.Effect<A, E, R> =>
  Effect.gen(function*() {
    const clock = yield* Effect.clock
    const limit = Duration.decode(options.limit ?? defaultLimit)
    const pastLimit = `VirtualTime.run: it has not ended within ${Duration.format(limit)} of its own time`
    if (VirtualTime.isClock(clock)) {
      return yield* options.limit === undefined ? effect : Effect.timeoutFailCause(effect, {
        duration: limit,
        onTimeout: () => Cause.die(new Cause.RuntimeException(pastLimit))
      })
    }
    const start = clock.unsafeCurrentTimeMillis()
    let settled = yield* Deferred.make<void>()
    let stuck: string | undefined
    const time = new VirtualTime(start, start + Duration.toMillis(limit), (why, now) => {
      stuck ??= why === "past the limit" ?
        pastLimit :
        "VirtualTime.run: it waits for what will never happen: " +
        `nothing is left to do after ${Duration.format(Duration.millis(now - start))}`
      Deferred.unsafeDone(settled, Effect.void)
    })
    const fiber = yield* Effect.fork(effect).pipe(Effect.withClock(time.clock), Effect.withScheduler(time))
    fiber.addObserver(() => {
      time.stop()
      Deferred.unsafeDone(settled, Effect.void)
    })
    return yield* Effect.gen(function*() {
      yield* Deferred.await(settled)
      if (stuck === undefined) return yield* Fiber.join(fiber)
      // runs its finalizers, unless they are stuck as well
      settled = yield* Deferred.make<void>()
      yield* Fiber.interruptFork(fiber)
      yield* Deferred.await(settled)
      return yield* Effect.dieMessage(stuck)
    }).pipe(
      Effect.onInterrupt(() => Fiber.interrupt(fiber)),
      Effect.ensuring(isTestClock(clock) ? forward(clock, time) : Effect.void)
    )
  })
