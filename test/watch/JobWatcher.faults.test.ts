import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect, FastCheck, Schedule } from "effect"
import { Cadence, JobStream } from "effect-queue-status"
import type { JobWatcher } from "effect-queue-status"
import { Fault, TestJobQueue, VirtualTime, Worker } from "effect-queue-status/testing"
import { runs } from "../fixtures/runs.js"
import { byJob, eventsOf, layer, polls, run, submit, submitMany, watchFor } from "../fixtures/watcher.js"

/** The longest time between two polls of a job, of those polls that began from `from` until `to`. */
const longestGap = (calls: ReadonlyArray<{ readonly at: number }>, from: number, to: number): number => {
  const times = [from, ...calls.map(({ at }) => at).filter((at) => at >= from && at < to), to]
  return Math.max(...times.slice(1).map((at, i) => at - times[i]!))
}

// -----------------------------------------------------------------------------
// rate limits
// -----------------------------------------------------------------------------

describe("after a rate limit", () => {
  it("every job that became due meanwhile is polled within one cadence, however long an outage lasted before", async () => {
    await FastCheck.assert(
      FastCheck.asyncProperty(
        FastCheck.integer({ min: 0, max: 20 }),
        FastCheck.integer({ min: 1, max: 20 }),
        FastCheck.integer({ min: 1, max: 8 }),
        (outage, retryAfter, cadence) =>
          run(
            { watcher: { queueOrder: "never" as const } },
            Effect.gen(function*() {
              const events = yield* eventsOf
              const jobs = yield* submitMany(20)
              const end = 20_001 + 1_000 * outage
              yield* TestJobQueue.inject(Fault.unavailable().pipe(Fault.on("status"), Fault.during("20 seconds", end)))
              yield* TestJobQueue.inject(
                Fault.rateLimited(Duration.seconds(retryAfter)).pipe(
                  Fault.on("status"),
                  Fault.during(end, "2 hours"),
                  Fault.nth(1)
                )
              )
              yield* watchFor(jobs, Duration.millis(end + 1_000 * (retryAfter + 2 * cadence + 20)), {
                cadence: Cadence.fixed(Duration.seconds(cadence)),
                retry: Schedule.spaced(Duration.seconds(cadence))
              })
              const [paused] = events
              assert(paused?._tag === "PollingPaused")
              const until = paused.until.epochMillis
              for (const ofJob of byJob(yield* polls)) {
                assert.isAtMost(longestGap(ofJob, until, until + 20_000), 1_000 * cadence + 500)
              }
            })
          )
      ),
      { numRuns: runs(4, 10) }
    )
  })
})

// -----------------------------------------------------------------------------
// stretch
// -----------------------------------------------------------------------------

const stretches = (events: ReadonlyArray<JobWatcher.PollingEvent>): ReadonlyArray<number> =>
  events.flatMap((event) => event._tag === "PollingSlowed" ? [event.factor] : [])

describe("the stretch", () => {
  it("is the ratio of the polls that the cadences demand to the budget, from the first seconds on", async () => {
    await FastCheck.assert(
      FastCheck.asyncProperty(
        FastCheck.integer({ min: 10, max: 150 }),
        FastCheck.integer({ min: 10, max: 50 }),
        FastCheck.integer({ min: 1, max: 8 }),
        (count, pollsPerSecond, cadence) =>
          run(
            { watcher: { queueOrder: "never" as const, pollsPerSecond } },
            Effect.gen(function*() {
              const events = yield* eventsOf
              const jobs = yield* submitMany(count)
              yield* watchFor(jobs, "40 seconds", { cadence: Cadence.fixed(Duration.seconds(cadence)) })
              const expected = Math.max(1, count / (cadence * pollsPerSecond))
              assert.isAtMost(Math.max(1, ...stretches(events)), 1.2 * expected + 0.2)
              assert.isAtLeast(2 * (stretches(events).at(-1) ?? 1), expected)
              const bound = 1_000 * cadence * 1.5 * expected + 1_500
              for (const ofJob of byJob(yield* polls)) {
                assert.isAtMost(longestGap(ofJob, ofJob[0]!.at, 40_000), bound)
              }
            })
          )
      ),
      { numRuns: runs(4, 10) }
    )
  })

  it.effect("leaves the cadence alone while the budget suffices", () =>
    Effect.gen(function*() {
      const events = yield* eventsOf
      const jobs = yield* submitMany(60)
      yield* watchFor(jobs, "30 seconds", { cadence: Cadence.fixed("2 seconds") })
      for (const ofJob of byJob(yield* polls)) assert.isAtMost(longestGap(ofJob, ofJob[0]!.at, 30_000), 2_100)
      assert.deepStrictEqual(events, [])
    }).pipe(VirtualTime.run, Effect.provide(layer({ watcher: { queueOrder: "never" as const } }))))
})

describe("the capacity", () => {
  it.effect("is limited by the concurrency, if requests are slow", () =>
    Effect.gen(function*() {
      const events = yield* eventsOf
      const jobs = yield* submitMany(40)
      yield* TestJobQueue.inject(Fault.delay("1 second").pipe(Fault.on("status")))
      yield* watchFor(jobs, "1 minute", { cadence: Cadence.fixed("2 seconds") })
      // the cadences demand 20 polls a second, and 4 are possible
      assert.approximately(stretches(events).at(-1) ?? 1, 5, 1)
    }).pipe(
      VirtualTime.run,
      Effect.provide(layer({ watcher: { queueOrder: "never" as const, concurrency: 4 } }))
    ))

  it.effect("counts a job that changes to its running cadence at the rate of that cadence", () =>
    Effect.gen(function*() {
      const events = yield* eventsOf
      const jobs = yield* submitMany(200)
      const cadence = Cadence.byPhase({ pending: Cadence.fixed("4 seconds"), running: Cadence.fixed("4 seconds") })
      yield* watchFor(jobs, "1 minute", { cadence })
      assert.isAtMost(Math.max(1, ...stretches(events)), 1.5)
    }).pipe(
      VirtualTime.run,
      Effect.provide(layer({
        watcher: { queueOrder: "never" as const },
        workers: { workers: 200, pickup: "20 seconds", script: Worker.always(Worker.finish("2 minutes")) }
      }))
    ))
})

// -----------------------------------------------------------------------------
// a stall
// -----------------------------------------------------------------------------

describe("a service that does not respond", () => {
  const latency = Fault.delay("30 millis").pipe(Fault.on("status"))

  it.effect("for 40 seconds is polled at the cadence again as soon as it responds", () =>
    Effect.gen(function*() {
      const jobs = yield* submitMany(80)
      yield* TestJobQueue.inject(latency)
      yield* TestJobQueue.inject(Fault.noResponse.pipe(Fault.on("status"), Fault.during("15 seconds", "55 seconds")))
      yield* watchFor(jobs, "80 seconds", { cadence: Cadence.fixed("5 seconds") })
      const all = yield* polls
      for (const ofJob of byJob(all)) {
        assert.isAtMost(longestGap(ofJob.filter(({ end }) => end?.outcome === "answered"), 55_000, 80_000), 12_000)
      }
      // few polls are sent meanwhile
      assert.isAtMost(all.filter(({ at }) => at >= 15_000 && at < 55_000).length, 2 * 80 + 40)
    }).pipe(VirtualTime.run, Effect.provide(layer({ watcher: { queueOrder: "never" as const } }))))

  it.effect("to one request only does not delay its job", () =>
    Effect.gen(function*() {
      const job = yield* submit
      yield* TestJobQueue.inject(latency)
      yield* TestJobQueue.inject(Fault.noResponse.pipe(Fault.on("status"), Fault.nth(5)))
      const end = yield* Effect.timed(JobStream.result(job, { cadence: Schedule.spaced("1 second") }))
      assert.isAtMost(Duration.toMillis(end[0]), 10_000)
      const hung = (yield* polls)[4]!
      assert(hung.end?.outcome === "interrupted")
      assert.isAtMost(hung.end.at - hung.at, 1_500)
    }).pipe(
      VirtualTime.run,
      Effect.provide(layer({ workers: { script: Worker.always(Worker.finish("8 seconds")) } }))
    ))

  it.effect("for a while, and then responds to all requests, is polled at the cadence again", () =>
    Effect.gen(function*() {
      const jobs = yield* submitMany(80)
      yield* TestJobQueue.inject(latency)
      const untilEnd = Effect.flatMap(Clock.currentTimeMillis, (now) => Effect.sleep(Math.max(0, 35_000 - now)))
      yield* TestJobQueue.inject(
        Fault.blockedUntil(untilEnd).pipe(Fault.on("status"), Fault.during("15 seconds", "35 seconds"))
      )
      yield* watchFor(jobs, "1 minute", { cadence: Cadence.fixed("5 seconds") })
      for (const ofJob of byJob(yield* polls)) {
        const answered = ofJob.filter(({ end }) => end?.outcome === "answered").map(({ end }) => ({ at: end!.at }))
        assert.isAtMost(longestGap(answered, 36_000, 60_000), 6_000)
      }
    }).pipe(VirtualTime.run, Effect.provide(layer({ watcher: { queueOrder: "never" as const } }))))

  it.effect("soon is not polled twice, if all responses take longer than before", () =>
    Effect.gen(function*() {
      const jobs = yield* submitMany(40)
      yield* TestJobQueue.inject(latency)
      yield* TestJobQueue.inject(
        Fault.delay("6 seconds").pipe(Fault.on("status"), Fault.during("20 seconds", "2 minutes"))
      )
      yield* watchFor(jobs, "80 seconds", { cadence: Cadence.fixed("2 seconds") })
      const slow = (yield* polls).filter(({ at }) => at >= 20_000 && at < 70_000)
      const answered = slow.filter(({ end }) => end?.outcome === "answered")
      assert.isAtLeast(answered.length, 200)
      assert.isAtMost(slow.length, 1.05 * answered.length)
    }).pipe(VirtualTime.run, Effect.provide(layer({ watcher: { queueOrder: "never" as const } }))))

  it.effect("soon for one job only is waited for", () =>
    Effect.gen(function*() {
      const jobs = yield* submitMany(10)
      yield* TestJobQueue.inject(latency)
      yield* TestJobQueue.inject(
        Fault.delay("20 seconds").pipe(Fault.ofJob(jobs[0]!), Fault.during("10 seconds", "1 hour"))
      )
      yield* Effect.fork(watchFor(jobs.slice(1), "1 minute", { cadence: Cadence.fixed("2 seconds") }))
      const [time] = yield* Effect.timed(JobStream.result(jobs[0]!, { cadence: Cadence.fixed("2 seconds") }))
      assert.isAtMost(Duration.toMillis(time), 33_000)
      assert.isAtMost(
        (yield* polls).filter(({ at, requestId }) => at >= 10_000 && requestId === jobs[0]!.requestId).length,
        5
      )
    }).pipe(
      VirtualTime.run,
      Effect.provide(
        layer({
          watcher: { queueOrder: "never" as const },
          workers: { workers: 10, script: Worker.always(Worker.finish("10 seconds")) }
        })
      )
    ))

  it("has two requests of a job in flight at most, within the concurrency", async () => {
    await FastCheck.assert(
      FastCheck.asyncProperty(
        FastCheck.constantFrom(1, 2, 5, 64),
        FastCheck.integer({ min: 1, max: 15 }),
        FastCheck.double({ min: 0, max: 0.6, noNaN: true }),
        FastCheck.integer({ min: 100, max: 4_000 }),
        (concurrency, count, share, slowest) =>
          run(
            { watcher: { concurrency, queueOrder: "never" as const } },
            Effect.gen(function*() {
              const jobs = yield* submitMany(count)
              yield* TestJobQueue.inject(Fault.delay(Worker.uniform("0 seconds", slowest)).pipe(Fault.on("status")))
              yield* TestJobQueue.inject(Fault.noResponse.pipe(Fault.on("status"), Fault.withProbability(share)))
              yield* watchFor(jobs, "1 minute", { cadence: Cadence.fixed("2 seconds") })
              // the host releases a body that is being read in a turn of its own
              yield* Effect.sleep("1 second")
              const all = yield* polls
              const inFlight = (calls: typeof all, at: number) =>
                calls.filter((call) => call.at <= at && (call.end?.at ?? Infinity) > at).length
              for (const { at } of all) assert.isAtMost(inFlight(all, at), concurrency)
              for (const ofJob of byJob(all)) {
                ofJob.forEach(({ at }, i) => {
                  assert.isAtMost(inFlight(ofJob, at), 2)
                  if (i > 0) assert.isTrue((ofJob[i - 1]!.end?.at ?? Infinity) <= at || at - ofJob[i - 1]!.at >= 1_000)
                })
              }
              // no request is in flight any more
              assert.strictEqual(inFlight(all, 120_000), 0)
            })
          )
      ),
      {
        numRuns: runs(5, 16),
        // at the end one request has its response, and is reading the body
        examples: [[5, 15, 0, 2_051]]
      }
    )
  })
})
