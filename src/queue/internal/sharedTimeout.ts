import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { monotonic } from "../../model/internal/time.js"
import * as Fiber from "./fiber.js"

/**
 * An operation with a timeout.
 *
 * @internal
 */
export interface Expiring {
  expiresAt: number
  readonly expire: () => void
}

/**
 * Applies the same timeout to every operation, with a single timer: they expire in order of arrival. The timer runs
 * only while an operation is pending.
 *
 * @internal
 */
export class SharedTimeout {
  private readonly waiting = new Set<Expiring>()
  private timer: Fiber.Fiber | undefined

  constructor(
    private readonly clock: Clock.Clock,
    private readonly millis: number,
    private readonly runtime: Fiber.Runtime
  ) {}

  add(one: Expiring): void {
    one.expiresAt = monotonic(this.clock) + this.millis
    this.waiting.add(one)
    if (this.waiting.size === 1) this.timer = Fiber.fork(this.runtime, this.wait)
  }

  delete(one: Expiring): void {
    if (this.waiting.delete(one) && this.waiting.size === 0 && this.timer !== undefined) Fiber.interrupt(this.timer)
  }

  // interruptible, even if the service was created in an uninterruptible region
  private readonly wait: Effect.Effect<void> = Effect.interruptible(Effect.suspend(() => {
    const now = monotonic(this.clock)
    for (const one of this.waiting) {
      if (one.expiresAt > now) return Effect.zipRight(this.clock.sleep(Duration.millis(one.expiresAt - now)), this.wait)
      // it deletes itself
      one.expire()
    }
    return Effect.void
  }))
}
