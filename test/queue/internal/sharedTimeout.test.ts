import { assert, describe, it } from "@effect/vitest"
import { VirtualTime } from "effect-queue-status/testing"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import { runtime } from "../../../src/queue/internal/fiber.js"
import { SharedTimeout } from "../../../src/queue/internal/sharedTimeout.js"

const millis = 20

/** The current clock, and the number of its sleeping fibers. */
const counting = Effect.map(Effect.clock, (clock) => {
  const counter = { sleeping: 0, slept: 0 }
  const counted: Clock.Clock = {
    [Clock.ClockTypeId]: Clock.ClockTypeId,
    unsafeCurrentTimeMillis: () => clock.unsafeCurrentTimeMillis(),
    unsafeCurrentTimeNanos: () => clock.unsafeCurrentTimeNanos(),
    currentTimeMillis: clock.currentTimeMillis,
    currentTimeNanos: clock.currentTimeNanos,
    sleep: (duration) =>
      Effect.acquireUseRelease(
        Effect.sync(() => {
          counter.sleeping++
          counter.slept++
        }),
        () => clock.sleep(duration),
        () => Effect.sync(() => counter.sleeping--)
      )
  }
  return { clock: counted, counter }
})

const makeWith = Effect.fn(function*(millis: number) {
  const { clock, counter } = yield* counting
  return { counter, deadlines: new SharedTimeout(clock, millis, yield* runtime) }
})

const make = makeWith(millis)

/** Waits `takes` milliseconds for a response, and returns the time at which it expired, if it did. */
const wait = (deadlines: SharedTimeout, takes: number) =>
  Effect.gen(function*() {
    const clock = yield* Effect.clock
    let expiredAt: number | undefined
    const one = deadlines.add(() => {
      expiredAt = clock.unsafeCurrentTimeMillis()
    })
    yield* Effect.sleep(Duration.millis(takes))
    deadlines.delete(one)
    return expiredAt
  })

const ended = Effect.repeatN(Effect.yieldNow(), 20)

describe("a shared timeout", () => {
  it.effect.prop(
    "expires each entry at its deadline, and no other entry",
    {
      waits: FastCheck.array(
        FastCheck.record({
          after: FastCheck.nat(60),
          // an entry that ends in the same millisecond may end either way
          takes: FastCheck.nat(60).filter((takes) => takes !== millis)
        }),
        { minLength: 1, maxLength: 12 }
      )
    },
    ({ waits }) =>
      VirtualTime.run(Effect.gen(function*() {
        const { counter, deadlines } = yield* make
        const start = yield* Clock.currentTimeMillis
        const expired = yield* Effect.forEach(
          waits,
          ({ after, takes }) => Effect.delay(wait(deadlines, takes), Duration.millis(after)),
          { concurrency: "unbounded" }
        )
        assert.deepStrictEqual(
          expired,
          waits.map(({ after, takes }) => takes > millis ? start + after + millis : undefined)
        )
        yield* ended
        assert.strictEqual(counter.sleeping, 0)
      }))
  )

  it.effect("expires each entry at once with a timeout of zero", () =>
    Effect.gen(function*() {
      const { counter, deadlines } = yield* makeWith(0)
      let expired = 0
      for (let i = 0; i < 3; i++) deadlines.delete(deadlines.add(() => expired++))
      assert.deepStrictEqual([expired, counter.slept], [3, 0])
    }))

  it.effect("uses one timer for any number of entries", () =>
    VirtualTime.run(Effect.gen(function*() {
      const { counter, deadlines } = yield* make
      yield* Effect.forEach(Array.from({ length: 1_000 }), () => wait(deadlines, millis / 2), {
        concurrency: "unbounded"
      })
      assert.strictEqual(counter.slept, 1)
      yield* ended
      assert.strictEqual(counter.sleeping, 0)
    })))

  it.effect("leaves no timer if it was created in an uninterruptible region", () =>
    VirtualTime.run(Effect.gen(function*() {
      const { counter, deadlines } = yield* Effect.uninterruptible(make)
      yield* wait(deadlines, millis / 2)
      yield* ended
      assert.strictEqual(counter.slept, 1)
      assert.strictEqual(counter.sleeping, 0)
    })))
})
