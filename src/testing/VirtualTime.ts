/**
 * Time that jumps: a day of polls in a few milliseconds.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import * as Internal from "./internal/virtualTime.js"

/**
 * Runs an effect in virtual time: whenever no fiber can run, the clock jumps to the next moment that one waits for. At the
 * end the test clock, if there is one, is set to the time of that clock.
 *
 * - The time starts at the present of the surrounding clock. Fibers forked before do not see it pass. `TestClock.adjust`
 *   inside of the effect sleeps, like `Effect.sleep`.
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
export const run = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  options: { readonly limit?: Duration.DurationInput | undefined } = {}
): Effect.Effect<A, E, R> => Internal.run(effect, options)
