import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Random, Schedule } from "effect"
import type { Cadence, Job } from "effect-queue-status"
import { Deadline, WatchPolicy } from "effect-queue-status"
import { PolicySimulation } from "effect-queue-status/testing"

const { defaultPolicy, withCadence, withDeadline } = WatchPolicy
const { simulate, workloads } = PolicySimulation

/** A workload of one kind of job. */
const always = (job: PolicySimulation.SimulatedJob): PolicySimulation.Workload => ({
  name: "always",
  job: Effect.succeed(job)
})

const every = (pause: Duration.DurationInput) => withCadence(defaultPolicy, Schedule.spaced(pause))

describe("simulate", () => {
  it.effect("lets a test assert limits of a policy", () =>
    Effect.gen(function*() {
      const { p95Staleness, pollsPerJob } = yield* simulate(defaultPolicy, workloads.lognormal, { seed: "ci" })
      assert.isAtMost(pollsPerJob, 15)
      assert(Duration.lessThanOrEqualTo(p95Staleness, "5.5 seconds"), Duration.format(p95Staleness))
    }))

  it.effect("returns the same figures for the same seed, and different ones for another seed", () =>
    Effect.gen(function*() {
      for (const workload of Object.values(workloads)) {
        const run = (seed: number | string) => simulate(defaultPolicy, workload, { jobs: 200, seed })
        const [first, again, other] = yield* Effect.all([run(1), run(1), run(2)])
        assert.deepStrictEqual(again, first)
        assert.notDeepEqual(other, first)
        assert.strictEqual(first.jobs, 200)
      }
    }))

  it.effect("uses neither the clock nor the random source of its caller", () =>
    Effect.gen(function*() {
      const run = simulate(defaultPolicy, workloads.bimodal, { jobs: 100 })
      assert.deepStrictEqual(yield* Effect.withRandom(run, Random.make("another")), yield* run)
    }))

  it.effect("agrees with a direct count for a constant poll interval", () =>
    Effect.gen(function*() {
      const pause = 700
      const drawn: Array<number> = []
      const workload: PolicySimulation.Workload = {
        name: "counted",
        job: Effect.zipWith(Random.nextRange(0, 5_000), Random.nextRange(0, 60_000), (wait, run) => {
          drawn.push(Duration.toMillis(wait) + Duration.toMillis(run))
          return { wait, run }
        })
      }
      const result = yield* simulate(every(pause), workload, { jobs: 500 })
      // polls run at 0, 700, 1400 …; the last poll is the first one at or after the end
      const polls = drawn.map((end) => Math.ceil(end / pause) + 1)
      const staleness = drawn.map((end) => Math.ceil(end / pause) * pause - end).sort((a, b) => a - b)
      const sum = (values: ReadonlyArray<number>) => values.reduce((a, b) => a + b, 0)
      assert.strictEqual(drawn.length, 500)
      assert.strictEqual(result.pollsPerJob, sum(polls) / 500)
      assert.approximately(Duration.toMillis(result.meanStaleness), sum(staleness) / 500, 1e-3)
      assert.approximately(Duration.toMillis(result.p95Staleness), staleness[474]!, 1e-3)
    }))

  it.effect("passes the cadence the snapshots that the service would return", () =>
    Effect.gen(function*() {
      const seen: Array<unknown> = []
      const cadence: Cadence.Cadence = Schedule.tapInput(Schedule.spaced("1 second"), (status: Job.JobStatus) =>
        Effect.sync(() =>
          seen.push([
            status._tag,
            ...[status.claimedAt, status.doneAt].map((time) =>
              time._tag === "Some" && status.createdAt._tag === "Some"
                ? time.value.epochMillis - status.createdAt.value.epochMillis
                : undefined
            ),
            status.info
          ])
        ))
      const job = {
        wait: "1500 millis",
        run: "2 seconds",
        progress: (x: number) =>
          x < 0.5 ? undefined : x
      } as const
      const result = yield* simulate(withCadence(defaultPolicy, cadence), always(job), { jobs: 1 })
      assert.deepStrictEqual(seen, [
        ["Pending", undefined, undefined, {}],
        ["Pending", undefined, undefined, {}],
        ["Running", 1_500, undefined, {}],
        ["Running", 1_500, undefined, { progress: 0.75 }]
      ])
      assert.deepStrictEqual(result, {
        jobs: 1,
        expired: 0,
        pollsPerJob: 5,
        meanStaleness: Duration.millis(500),
        p95Staleness: Duration.millis(500)
      })
    }))

  it.effect("limits the pauses to the bounds of a watch, and continues when a cadence ends", () =>
    Effect.gen(function*() {
      const job = always({ wait: 0, run: "1 second" })
      const polls = (cadence: Cadence.Cadence, workload = job) =>
        Effect.map(
          simulate({ ...defaultPolicy, cadence, deadline: Deadline.none }, workload, { jobs: 1 }),
          (_) => _.pollsPerJob
        )
      assert.strictEqual(yield* polls(Schedule.forever), 21)
      assert.strictEqual(yield* polls(Schedule.spaced("2 days"), always({ wait: 0, run: "40 hours" })), 3)
      assert.isAbove(yield* polls(Schedule.stop), 2)
    }))

  it.effect("counts a job as expired when a deadline passes", () =>
    Effect.gen(function*() {
      const run = (deadline: Deadline.Deadline, job: PolicySimulation.SimulatedJob) =>
        simulate(withDeadline(every("1 second"), deadline), always(job), { jobs: 10 })
      const seconds = (wait: number, run: number, progress?: PolicySimulation.SimulatedJob["progress"]) => ({
        wait: Duration.seconds(wait),
        run: Duration.seconds(run),
        progress
      })
      const late = yield* run(Deadline.total("5.5 seconds"), seconds(3, 3))
      assert.deepStrictEqual(late, {
        jobs: 10,
        expired: 10,
        pollsPerJob: 6,
        meanStaleness: Duration.infinity,
        p95Staleness: Duration.infinity
      })
      assert.strictEqual((yield* run(Deadline.total("6.5 seconds"), seconds(3, 3))).expired, 0)
      assert.strictEqual((yield* run(Deadline.pending("2.5 seconds"), seconds(3, 3))).expired, 10)
      assert.strictEqual((yield* run(Deadline.pending("3.5 seconds"), seconds(3, 30))).expired, 0)
      assert.strictEqual((yield* run(Deadline.stalled("2.5 seconds"), seconds(30, 5))).expired, 10)
      assert.strictEqual((yield* run(Deadline.stalled("2.5 seconds"), seconds(30, 5, (x) => x))).expired, 0)
    }))

  it.effect("accepts out-of-range options", () =>
    Effect.gen(function*() {
      const jobs = (jobs: number) => Effect.map(simulate(defaultPolicy, workloads.bimodal, { jobs }), (_) => _.jobs)
      assert.deepStrictEqual(yield* Effect.forEach([0, -1, 1.9, NaN, Infinity], jobs), [1, 1, 1, 1_000, 1_000])
      const over = yield* simulate(defaultPolicy, always({ wait: -1, run: NaN }), { jobs: 1 })
      assert.strictEqual(over.pollsPerJob, 1)
      assert.deepStrictEqual(over.meanStaleness, Duration.zero)
      const endless = yield* simulate(defaultPolicy, always({ wait: 0, run: Infinity }), { jobs: 1 })
      assert.strictEqual(endless.expired, 1)
    }))
})

describe("workloads", () => {
  it.effect("have the documented distributions", () =>
    Effect.gen(function*() {
      const drawn = (workload: PolicySimulation.Workload) =>
        Effect.replicateEffect(workload.job, 10_000).pipe(
          Effect.withRandom(Random.make("workloads")),
          Effect.map((jobs) => {
            const at = (part: number, key: "wait" | "run") =>
              jobs.map((job) => Duration.toSeconds(job[key])).sort((a, b) => a - b)[part * 10_000]!
            return { at, progress: jobs[0]?.progress }
          })
        )
      const lognormal = yield* drawn(workloads.lognormal)
      assert.approximately(lognormal.at(0.5, "wait"), 3, 0.2)
      assert.approximately(lognormal.at(0.5, "run"), 30, 1)
      const video = yield* drawn(workloads.video)
      assert.approximately(video.at(0.5, "run"), 90, 2)
      assert.deepStrictEqual([0, 0.04, 0.525, 1].map((x) => video.progress?.(x)), [0, 0, 0.5, 1])
      const bimodal = yield* drawn(workloads.bimodal)
      assert.approximately(bimodal.at(0.35, "run"), 4, 0.2)
      assert.approximately(bimodal.at(0.85, "run"), 60, 2)
      const heavyTailed = yield* drawn(workloads.heavyTailed)
      assert.isAtLeast(heavyTailed.at(0, "run"), 5)
      assert.approximately(heavyTailed.at(0.99, "run"), 5 * 100 ** (2 / 3), 15)
    }))
})
