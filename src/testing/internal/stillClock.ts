/** A hint for a test that waits on a clock which nothing moves. @internal */
import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { forkScoped } from "../../queue/internal/fiber.js"
import { isTestClock } from "./virtualTime.js"

const hint = "TestJobQueue: the program sleeps, and the test clock does not move. Run the program with " +
  "`VirtualTime.run`, or move the clock with `TestClock.adjust`."

/**
 * Prints the hint once, through `Console`: `it.effect` of `@effect/vitest` removes the logger. It comes after two real
 * seconds, before the test times out.
 *
 * @internal
 */
export const warn: Effect.Effect<void, never, Scope.Scope> = Effect.clockWith((clock) => {
  if (!isTestClock(clock)) return Effect.void
  const isStill = Effect.suspend(() => {
    const before = clock.unsafeCurrentTimeMillis()
    return Effect.delay(
      Effect.map(
        clock.sleeps,
        (sleeps) => Chunk.isNonEmpty(sleeps) && clock.unsafeCurrentTimeMillis() === before
      ),
      "2 seconds"
    )
  })
  return isStill.pipe(
    Effect.repeat({ until: (isStill) => isStill }),
    Effect.zipRight(Console.warn(hint)),
    Effect.withClock(Clock.make()),
    forkScoped,
    Effect.asVoid
  )
})
