/**
 * Time that jumps: a day of polls in a few milliseconds.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as TestClock from "effect/TestClock"
import { scheduler } from "../queue/internal/fiber.js"
import { isTestClock, VirtualTime } from "./internal/virtualTime.js"

const defaultLimit = Duration.days(30)

const withLock = Effect.unsafeMakeSemaphore(1)

// Never back: several runs may end at once, and to set the clock takes some turns of the host.
const forward = (clock: TestClock.TestClock, time: VirtualTime): Effect.Effect<void> =>
  withLock.withPermits(1)(
    Effect.suspend(() => clock.setTime(Math.max(clock.unsafeCurrentTimeMillis(), time.unsafeCurrentTimeMillis())))
  )

/**
 * Runs an effect in virtual time: whenever no fiber can run, the clock jumps to the next moment that one waits for. At the
 * end the test clock, if there is one, is set to the time of that clock.
 *
 * - The time starts at the present of the surrounding clock. Fibers forked before do not see it pass, nor do those of
 *   another run: two runs at a time must not share a `JobWatcher`, which polls in the time of the first. `TestClock.adjust`
 *   inside of the effect sleeps, like `Effect.sleep`.
 * - Fibers yield to each other where the surrounding scheduler lets them.
 * - The clock does not wait for the real world (a socket, a file) longer than a turn of the event loop, or two seconds if
 *   no fiber sleeps.
 * - Inside of another `VirtualTime.run` the effect shares its time; a `limit` holds in addition.
 * - An effect that waits for what will never happen, or that runs longer than `limit` in its own time, dies with a message
 *   that says so. `limit` defaults to 30 days.
 *
 * @example
 * import { JobQueue, JobStream } from "effect-queue-status"
 * import { TestJobQueue, VirtualTime, Worker } from "effect-queue-status/testing"
 * import { Clock, Effect } from "effect"
 *
 * const test = Effect.gen(function*() {
 *   const job = yield* JobQueue.submit({ model: "my-org/video-generator", payload: {} })
 *   yield* JobStream.result(job)
 *   return yield* Clock.currentTimeMillis // six hours later, and at once
 * }).pipe(
 *   VirtualTime.run,
 *   Effect.provide(TestJobQueue.layer({
 *     workers: { script: Worker.always(Worker.finish("6 hours")) }
 *   }))
 * )
 *
 * @since 0.1.0
 * @category time
 */
// not dual: `pipe` infers no types from an overloaded generic function, and `pipe(program, VirtualTime.run)` is its usual form
export const run = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  options: { readonly limit?: Duration.DurationInput | undefined } = {}
): Effect.Effect<A, E, R> =>
  Effect.gen(function*() {
    const clock = yield* Effect.clock
    const limit = Duration.decode(options.limit ?? defaultLimit)
    const pastLimit = `VirtualTime.run: it has not ended within ${Duration.format(limit)} of its own time`
    if (clock instanceof VirtualTime) {
      return yield* options.limit === undefined ? effect : Effect.timeoutFailCause(effect, {
        duration: limit,
        onTimeout: () => Cause.die(new Cause.RuntimeException(pastLimit))
      })
    }
    const start = clock.unsafeCurrentTimeMillis()
    let settled = yield* Deferred.make<void>()
    let stuck: string | undefined
    const around = yield* scheduler
    const shouldYield: typeof around.shouldYield = (fiber) => around.shouldYield(fiber)
    const time = new VirtualTime(start, start + Duration.toMillis(limit), shouldYield, (why, now) => {
      stuck ??= why === "past the limit" ?
        pastLimit :
        "VirtualTime.run: it waits for what will never happen, or for fibers that are outside of it: " +
        `nothing is left to do after ${Duration.format(Duration.millis(now - start))}`
      Deferred.unsafeDone(settled, Effect.void)
    })
    const fiber = yield* Effect.fork(effect).pipe(Effect.withClock(time), Effect.withScheduler(time))
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
