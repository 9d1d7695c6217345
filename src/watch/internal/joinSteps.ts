/** The steps of schedules that new subscribers wait for: code of the user, which may take a while. */
import type * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Fiber from "../../queue/internal/fiber.js"
import type { Executor } from "./executor.js"
import type { Subscriber } from "./poller.js"

/** @internal */
export class JoinSteps {
  private readonly running = new Map<Subscriber, Fiber.Fiber<unknown>>()

  constructor(private readonly executor: Executor, private readonly onLateEnd: () => void) {}

  /** Runs a step. `settle` is called before `run` returns if the step ends at once, otherwise before `onLateEnd`. */
  run<A>(subscriber: Subscriber, step: Effect.Effect<A>, settle: (exit: Exit.Exit<A>) => void): void {
    const fiber = this.executor.fork(step)
    const exit = Fiber.exitOf(fiber)
    if (exit !== null) return settle(exit)
    this.running.set(subscriber, fiber)
    fiber.addObserver((exit) => {
      this.running.delete(subscriber)
      settle(exit)
      this.onLateEnd()
    })
  }

  stop(subscriber: Subscriber): void {
    const fiber = this.running.get(subscriber)
    if (fiber !== undefined) Fiber.interrupt(fiber)
  }
}
