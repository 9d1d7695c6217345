/**
 * Long polls for a job of a model, served in the order in which they began.
 *
 * A job that becomes pending wakes the first poll of its model. A poll that ends, with a job or without, wakes the next if
 * another job is available. Only the first poll wakes by itself when a claim may expire; the others sleep until their
 * timeout.
 *
 * @internal
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { steady } from "../../model/internal/time.js"

const now = Effect.clockWith((clock) => Effect.sync(() => steady(clock).time))

interface Source {
  /** Whether a job of the model is available now. */
  readonly isReady: (model: string) => boolean
  /** The next time when a job may become available without a call. */
  readonly nextEvent: () => number
}

interface Poll {
  /** Open when the poll is to look at the queue. */
  readonly signal: Effect.Latch
  wakesAt: number
}

/** @internal */
export class LongPolls {
  private readonly polls = new Map<string, Set<Poll>>()

  constructor(private readonly source: Source) {}

  /** Wakes the polls that a change of the queue concerns. */
  notify(): void {
    if (this.polls.size === 0) return
    const nextEvent = this.source.nextEvent()
    for (const [model, polls] of this.polls) {
      const [first] = polls
      if (first !== undefined && (nextEvent < first.wakesAt || this.source.isReady(model))) first.signal.unsafeOpen()
    }
  }

  /** Runs `take` until it returns something, for up to `timeout` milliseconds, after the polls that began before. */
  take<A>(model: string, take: Effect.Effect<Option.Option<A>>, timeout: number): Effect.Effect<Option.Option<A>> {
    const poll = Effect.acquireUseRelease(
      Effect.sync(() => {
        const poll: Poll = { signal: Effect.unsafeMakeLatch(), wakesAt: Infinity }
        this.polls.set(model, (this.polls.get(model) ?? new Set()).add(poll))
        return poll
      }),
      (poll) => Effect.flatMap(now, (start) => this.await(model, poll, take, start + timeout)),
      (poll) =>
        Effect.sync(() => {
          const polls = this.polls.get(model)
          polls?.delete(poll)
          if (polls?.size === 0) this.polls.delete(model)
          this.notify()
        })
    )
    return Effect.suspend(() =>
      this.polls.has(model)
        ? poll
        : Effect.flatMap(take, (taken) => Option.isSome(taken) || timeout <= 0 ? Effect.succeed(taken) : poll)
    )
  }

  private await<A>(model: string, poll: Poll, take: Effect.Effect<Option.Option<A>>, deadline: number) {
    const { source } = this
    const isFirst = () => this.polls.get(model)?.values().next().value === poll
    return Effect.gen(function*() {
      for (;;) {
        // before the queue is read, so that no later change is missed
        poll.signal.unsafeClose()
        const taken = isFirst() ? yield* take : Option.none<A>()
        const time = yield* now
        if (Option.isSome(taken) || time >= deadline) return taken
        poll.wakesAt = isFirst() ? Math.min(deadline, source.nextEvent()) : deadline
        yield* Effect.timeoutOption(poll.signal.await, Duration.millis(poll.wakesAt - time))
      }
    })
  }
}
