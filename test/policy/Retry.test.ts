import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Fiber, Option, Schedule, TestClock } from "effect"
import { QueueError, Retry } from "effect-queue-status"
import * as FastCheck from "effect/FastCheck"
import * as Random from "effect/Random"
import { maxRetryAfter } from "../../src/model/internal/limits.js"
import * as Pacer from "../../src/policy/internal/scheduleDriver.js"

const about = { operation: "status", model: "m" } as const
const unavailable = (retryAfter?: Duration.DurationInput) =>
  new QueueError.Unavailable({
    ...about,
    httpStatus: 503,
    ...(retryAfter !== undefined && { retryAfter: Duration.decode(retryAfter) })
  })
const rateLimited = (retryAfter: Duration.DurationInput) =>
  new QueueError.RateLimited({ ...about, httpStatus: 429, retryAfter: Duration.decode(retryAfter) })
const notFound = new QueueError.JobNotFound({ ...about, httpStatus: 404 })
const unauthorized = new QueueError.AccessDenied({ ...about, httpStatus: 401 })
const reset = new QueueError.Unreachable({ ...about, reason: "read ECONNRESET" })
const untrusted = new QueueError.Unreachable({
  ...about,
  reason: "self-signed certificate",
  sent: false,
  transient: false
})
const unexpected = new QueueError.UnexpectedResponse({ ...about, httpStatus: 200, issue: "no JSON", body: "<html>" })

/** The pauses of a retry for consecutive errors, each right after its pause; `undefined` at its end. */
const pauses = (retry: Retry.Retry, errors: ReadonlyArray<QueueError.QueueError>) =>
  Effect.gen(function*() {
    const pacer = yield* Pacer.make(retry)
    const all: Array<number | undefined> = []
    for (const error of errors) {
      const pause = Option.getOrUndefined(yield* pacer.next(error))
      all.push(pause)
      if (pause === undefined) break
      const fiber = yield* Effect.fork(Effect.sleep(pause))
      yield* TestClock.adjust(pause)
      yield* Fiber.join(fiber)
    }
    return all
  }).pipe(Effect.withRandom(Random.make("retry")))

/** The delays that a schedule returns, in milliseconds: `pauses` keeps the limits of a watch as well. */
const delays = (retry: Retry.Retry, errors: ReadonlyArray<QueueError.QueueError>) =>
  Schedule.run(Schedule.delays(retry), 0, errors).pipe(
    Effect.map((delays) => Array.from(delays, Duration.toMillis)),
    Effect.withRandom(Random.make("retry"))
  )

const times = <A>(n: number, value: A): ReadonlyArray<A> => Array.from({ length: n }, () => value)

const near = (actual: ReadonlyArray<number | undefined>, expected: ReadonlyArray<number | undefined>) => {
  assert.strictEqual(actual.length, expected.length, String(actual))
  expected.forEach((value, i) => {
    const pause = actual[i]
    if (value === undefined) assert.isUndefined(pause)
    else assert(pause !== undefined && pause >= value * 0.8 - 1 && pause <= value * 1.2 + 1, String(actual))
  })
}

const options = { base: "1 second", factor: 2, cap: "10 seconds", times: 5 } as const

describe("transient", () => {
  it.effect("grows to its cap, and ends after `times` retries", () =>
    Effect.gen(function*() {
      near(yield* pauses(Retry.transient(options), times(9, unavailable())), [
        1_000,
        2_000,
        4_000,
        8_000,
        10_000,
        undefined
      ])
    }))

  it.effect("ends at once with a permanent error", () =>
    Effect.gen(function*() {
      for (const error of [unauthorized, notFound, untrusted]) {
        assert.deepStrictEqual(yield* pauses(Retry.transient(options), [error]), [undefined])
      }
    }))

  it.effect("never waits for less than the Retry-After of a 429 or a 503", () =>
    Effect.gen(function*() {
      for (const error of [unavailable("45 seconds"), rateLimited("45 seconds")]) {
        assert.deepStrictEqual(yield* pauses(Retry.transient(options), times(3, error)), [45_000, 45_000, 45_000])
      }
      // a Retry-After below the pause does not shorten it
      near(yield* pauses(Retry.transient(options), times(4, rateLimited(0))), [1_000, 2_000, 4_000, 8_000])
    }))

  it.effect("begins no retry after `within`", () =>
    Effect.gen(function*() {
      const retry = Retry.transient({ ...options, times: 100, within: "20 seconds" })
      const made = yield* pauses(retry, times(100, unavailable()))
      const total = made.reduce<number>((sum, pause) => sum + (pause ?? 0), 0)
      assert(made.at(-1) === undefined && total < 20_000 && total >= 20_000 - 12_000, String(made))
      // not even if Retry-After exceeds the remaining time
      assert.deepStrictEqual(yield* pauses(retry, times(3, rateLimited("15 seconds"))), [15_000, undefined])
      // nor exactly at `within`
      assert.deepStrictEqual(yield* pauses(retry, [rateLimited("19999 millis")]), [19_999])
      assert.deepStrictEqual(yield* pauses(retry, [rateLimited("20 seconds")]), [undefined])
    }))

  it.effect("makes no hot loop of invalid durations", () =>
    Effect.gen(function*() {
      for (const base of [0, -5, Number.NaN, Duration.zero]) {
        for (const factor of [0, Number.NaN]) {
          const made = yield* delays(Retry.transient({ ...options, base, factor }), times(5, unavailable()))
          assert(made.every((delay) => delay > 0), String(made))
        }
      }
      const longest = Retry.transient({ ...options, base: Infinity, cap: Duration.infinity })
      for (const delay of yield* delays(longest, times(5, unavailable()))) {
        assert.isAtMost(delay, Duration.toMillis(maxRetryAfter))
      }
    }))
})

describe("byKind", () => {
  const retry = Retry.byKind({
    transient: Schedule.intersect(Schedule.spaced("1 second"), Schedule.recurs(2)),
    notFound: Schedule.intersect(Schedule.spaced("3 seconds"), Schedule.recurs(1))
  })

  it.effect("counts each kind separately", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(
        yield* pauses(retry, [unavailable(), notFound, unavailable(), unavailable()]),
        [1_000, 3_000, 1_000, undefined]
      )
      assert.deepStrictEqual(yield* pauses(retry, [notFound, unavailable(), notFound]), [3_000, 1_000, undefined])
    }))

  it.effect("treats an error of a kind without a policy as permanent", () =>
    Effect.gen(function*() {
      for (const error of [untrusted, unauthorized]) {
        assert.deepStrictEqual(yield* pauses(retry, [error]), [undefined])
      }
    }))
})

describe("the default", () => {
  it.effect("retries all transient errors for a minute and a half, and a missing job for some seconds", () =>
    Effect.gen(function*() {
      // a gateway in trouble responds with any of them in turn
      const outages = [
        times(20, unavailable()),
        times(20, unexpected),
        Array.from({ length: 20 }, (_, i) => [unavailable(), unexpected, unavailable(), reset][i % 4]!)
      ]
      for (const outage of outages) {
        near(yield* pauses(Retry.defaultRetry, outage), [
          500,
          1_000,
          2_000,
          4_000,
          8_000,
          16_000,
          30_000,
          30_000,
          undefined
        ])
      }
      assert.deepStrictEqual(yield* pauses(Retry.defaultRetry, times(20, notFound)), [...times(10, 500), undefined])
      for (const error of [unauthorized, untrusted]) {
        assert.deepStrictEqual(yield* pauses(Retry.defaultRetry, [error]), [undefined])
      }
    }))
})

describe("respectRetryAfter", () => {
  it("never waits for less than Retry-After, around any schedule", () =>
    FastCheck.assert(
      FastCheck.asyncProperty(
        FastCheck.constantFrom<Retry.Retry>(
          Schedule.forever,
          Schedule.spaced("1 second"),
          Schedule.exponential("10 millis"),
          Schedule.jittered(Schedule.spaced("1 minute")),
          Schedule.union(Schedule.spaced("1 minute"), Schedule.spaced("1 second"))
        ),
        FastCheck.array(FastCheck.integer({ min: 0, max: 100_000 }), { minLength: 1, maxLength: 8 }),
        (schedule, asked) =>
          Effect.gen(function*() {
            const pacer = yield* Pacer.make(Retry.respectRetryAfter(schedule))
            for (const millis of asked) {
              const pause = Option.getOrThrow(yield* pacer.next(rateLimited(millis)))
              assert.isAtLeast(pause, millis)
            }
          }).pipe(Effect.runPromise)
      ),
      { numRuns: 200 }
    ))
})
