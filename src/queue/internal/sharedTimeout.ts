import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { monotonic } from "../../model/internal/time.js"
import * as Fiber from "./fiber.js"

/** A pending operation. @internal */
export class Expiring {
  previous: Expiring = this
  next: Expiring = this

  constructor(readonly expiresAt: number, readonly expire: () => void) {}
}

/**
 * Applies the same timeout to every operation, with a single timer: they expire in order of arrival. The timer runs
 * only while an operation is pending.
 *
 * @internal
 */
export class SharedTimeout {
  // Between the last and the first of a ring. Not a `Set`, whose past tables refer to the next ones: once V8 has moved one
  // of them to its old space, all operations since then are kept until a major collection.
  private readonly end = new Expiring(Infinity, () => {})
  private timer: Fiber.Fiber | undefined

  constructor(
    private readonly clock: Clock.Clock,
    private readonly millis: number,
    private readonly runtime: Fiber.Runtime
  ) {}

  private get isEmpty(): boolean {
    return this.end.next === this.end
  }

  /** Calls `expire` unless the operation is deleted before. That may be at once. */
  add(expire: () => void): Expiring {
    const { end, isEmpty } = this
    const one = new Expiring(monotonic(this.clock) + this.millis, expire)
    one.previous = end.previous
    one.next = end
    end.previous.next = one
    end.previous = one
    if (isEmpty) this.timer = Fiber.fork(this.runtime, this.wait)
    return one
  }

  delete(one: Expiring): void {
    if (one.next === one) return
    one.previous.next = one.next
    one.next.previous = one.previous
    one.previous = one.next = one
    if (this.isEmpty && this.timer !== undefined) Fiber.interrupt(this.timer)
  }

  private readonly wait: Effect.Effect<void> = Effect.suspend(() => {
    const now = monotonic(this.clock)
    while (!this.isEmpty) {
      const one = this.end.next
      if (one.expiresAt > now) return Effect.zipRight(this.clock.sleep(Duration.millis(one.expiresAt - now)), this.wait)
      this.delete(one)
      one.expire()
    }
    return Effect.void
  })
}
