/**
 * Who waits for a job of a model: first come, first served.
 *
 * A job that becomes pending wakes the one who is first, and whoever leaves the line, served or not, sees to it that the
 * next one is awake if there is still something to have. Nobody looks again and again: but for the one who is first, and
 * has to be there when a claim runs out, all sleep until they have waited long enough.
 *
 * @internal
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import * as Option from "effect/Option"

/** What is waited for. */
interface Source {
  /** Whether there is something to have now. */
  readonly isReady: (model: string) => boolean
  /** When there may be something else to have, though nobody calls. */
  readonly nextEvent: () => number
}

interface Waiter {
  signal: Deferred.Deferred<void>
  alarm: number
}

// A longer timer fires at once.
const longestSleep = 2 ** 31 - 1

/** @internal */
export class WaitingLine {
  private readonly lines = new Map<string, Set<Waiter>>()

  constructor(private readonly source: Source) {}

  /** Something has changed: wakes those whom it concerns. */
  notify(): void {
    if (this.lines.size === 0) return
    const nextEvent = this.source.nextEvent()
    for (const [model, line] of this.lines) {
      const [first] = line
      if (first !== undefined && (nextEvent < first.alarm || this.source.isReady(model))) {
        Deferred.unsafeDone(first.signal, Effect.void)
      }
    }
  }

  /** Takes what there is, or waits in line for it, for so many milliseconds. */
  take<A>(
    model: string,
    take: Effect.Effect<Option.Option<A>>,
    patience: number
  ): Effect.Effect<Option.Option<A>> {
    return Effect.suspend(() =>
      this.lines.has(model)
        ? this.stand(model, take, patience)
        : Effect.flatMap(take, (taken) =>
          Option.isSome(taken) || patience <= 0 ? Effect.succeed(taken) : this.stand(model, take, patience))
    )
  }

  private stand<A>(
    model: string,
    take: Effect.Effect<Option.Option<A>>,
    patience: number
  ): Effect.Effect<Option.Option<A>> {
    return Effect.acquireUseRelease(
      Effect.sync(() => this.enter(model)),
      (waiter) => Effect.flatMap(Clock.currentTimeMillis, (start) => this.await(model, waiter, take, start + patience)),
      (waiter) => Effect.sync(() => this.leave(model, waiter))
    )
  }

  private await<A>(
    model: string,
    waiter: Waiter,
    take: Effect.Effect<Option.Option<A>>,
    deadline: number
  ): Effect.Effect<Option.Option<A>> {
    const { source } = this
    const isFirst = () => this.lines.get(model)?.values().next().value === waiter
    return Effect.gen(function*() {
      for (;;) {
        // before anything is looked at: what changes from now on is heard of
        waiter.signal = Deferred.unsafeMake(FiberId.none)
        const taken = isFirst() ? yield* take : Option.none()
        const now = yield* Clock.currentTimeMillis
        if (Option.isSome(taken) || now >= deadline) return taken
        waiter.alarm = isFirst() ? Math.min(deadline, source.nextEvent()) : deadline
        const wait = Math.min(Math.max(0, waiter.alarm - now), longestSleep)
        yield* Effect.timeoutOption(Deferred.await(waiter.signal), Duration.millis(wait))
      }
    })
  }

  private enter(model: string): Waiter {
    const waiter: Waiter = { signal: Deferred.unsafeMake(FiberId.none), alarm: Infinity }
    const line = this.lines.get(model)
    if (line === undefined) this.lines.set(model, new Set([waiter]))
    else line.add(waiter)
    return waiter
  }

  private leave(model: string, waiter: Waiter): void {
    const line = this.lines.get(model)
    line?.delete(waiter)
    if (line?.size === 0) this.lines.delete(model)
    this.notify()
  }
}
