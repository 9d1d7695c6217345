/**
 * Simulates watch policies: what a policy costs, and how soon it sees the end of a job. It simulates thousands of jobs a
 * second, in virtual time.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Number from "effect/Number"
import * as Option from "effect/Option"
import * as Job from "../model/Job.js"
import { derive } from "../model/Transition.js"
import * as Pacer from "../policy/internal/scheduleDriver.js"
import type { WatchPolicy } from "../policy/WatchPolicy.js"
import { nextExpiry } from "../watch/internal/expiry.js"
import * as JobState from "../watch/internal/jobState.js"
import * as SeededRandom from "./internal/seededRandom.js"
import { ManualClock } from "./internal/virtualTime.js"
import * as Worker from "./Worker.js"

// -----------------------------------------------------------------------------
// models
// -----------------------------------------------------------------------------

/**
 * A job to simulate.
 *
 * @since 0.1.0
 * @category models
 */
export interface SimulatedJob {
  /** How long the job waits in the queue. */
  readonly wait: Duration.DurationInput
  /** How long the job runs. */
  readonly run: Duration.DurationInput
  /**
   * Returns the `info.progress` of the worker after a given fraction of the run, from 0 to 1. Defaults to no progress.
   */
  readonly progress?: ((fraction: number) => number | undefined) | undefined
}

/**
 * A kind of job to simulate, such as those of one model.
 *
 * @example
 * import { PolicySimulation } from "effect-queue-status/testing"
 * import { Effect, Random } from "effect"
 *
 * const thumbnails: PolicySimulation.Workload = {
 *   name: "thumbnails",
 *   job: Effect.map(Random.nextRange(200, 800), (run) => ({ wait: "1 second", run }))
 * }
 *
 * @since 0.1.0
 * @category models
 */
export interface Workload {
  /** The name of the workload. */
  readonly name: string
  /** Creates a random job, from Effect's `Random`. */
  readonly job: Effect.Effect<SimulatedJob>
}

/**
 * The result of a simulation.
 *
 * @since 0.1.0
 * @category models
 */
export interface Simulation {
  /** The number of simulated jobs. */
  readonly jobs: number
  /** The number of jobs whose end was not seen, because a deadline of the policy passed first. Their polls count. */
  readonly expired: number
  /** The mean number of requests a job, including the one that sees its end. */
  readonly pollsPerJob: number
  /** The mean time from the end of a job until a poll sees it. Infinite if no end was seen. */
  readonly meanStaleness: Duration.Duration
  /** The 95th percentile of the time from the end of a job until a poll sees it. Infinite if no end was seen. */
  readonly p95Staleness: Duration.Duration
}

// -----------------------------------------------------------------------------
// the watch
// -----------------------------------------------------------------------------

// the time of every submission, when its watch starts
const start = Date.UTC(2026, 0, 1)

/** A clock that moves only when it sleeps, or is set. */
class SimulatedClock extends ManualClock {
  sleep(duration: Duration.Duration) {
    return Effect.sync(() => {
      this.now += Duration.toMillis(duration)
    })
  }
}

const observedAt = DateTime.unsafeMake(start)

const pending = Job.Pending({
  job: Job.ref("simulated", "simulated"),
  createdAt: Option.some(observedAt),
  retries: Option.some(0)
})

/** Returns the staleness in milliseconds; `undefined` if a deadline of the policy passed first. */
const watch = (
  { cadence, deadline }: WatchPolicy,
  clock: SimulatedClock,
  { progress = () => undefined, run, wait }: SimulatedJob
) =>
  Effect.gen(function*() {
    const claimedAt = start + Duration.toMillis(wait)
    const doneAt = claimedAt + Duration.toMillis(run)
    // the snapshot before the end of the job
    const snapshot = (now: number): Job.Pending | Job.Running => {
      if (now < claimedAt) return pending
      const value = progress(doneAt > claimedAt ? (now - claimedAt) / (doneAt - claimedAt) : 1)
      return {
        ...pending,
        _tag: "Running",
        claimedAt: Option.some(DateTime.unsafeMake(claimedAt)),
        info: value === undefined ? {} : { progress: value }
      }
    }
    const pause = yield* Pacer.ofCadence(cadence)
    const state = JobState.make(undefined, start)
    clock.now = start
    let polls = 1
    while (clock.now < doneAt) {
      const status = snapshot(clock.now)
      const derived = derive(Option.fromNullable(state.cursor), status, { observedAt })
      JobState.accept(state, status, clock.now, Either.getOrThrow(derived))
      const next = clock.now + (yield* pause(status))
      if (next >= nextExpiry(start, state, deadline).at) return { polls, staleness: undefined }
      clock.now = next
      polls++
    }
    return { polls, staleness: clock.now - doneAt }
  })

/**
 * Simulates the cadence and the deadlines of a policy on random jobs. Each watch starts with its job, and requests take no
 * time. The same seed gives the same jobs, whatever the policy.
 *
 * - `jobs`: the number of jobs. Defaults to 1,000.
 * - `seed`: the seed of the jobs and of jitter. Defaults to 0.
 *
 * @example
 * import { WatchPolicy } from "effect-queue-status"
 * import { PolicySimulation } from "effect-queue-status/testing"
 * import { Duration, Effect } from "effect"
 *
 * // in a test: at most 12 requests a job, and 19 of 20 results are seen within 5 seconds
 * const check = Effect.gen(function*() {
 *   const { p95Staleness, pollsPerJob } = yield* PolicySimulation.simulate(
 *     WatchPolicy.defaultPolicy,
 *     PolicySimulation.workloads.lognormal,
 *     { jobs: 5_000, seed: "ci" }
 *   )
 *   return pollsPerJob <= 12 && Duration.lessThanOrEqualTo(p95Staleness, "5 seconds")
 * })
 *
 * @since 0.1.0
 * @category simulation
 */
export const simulate = (
  policy: WatchPolicy,
  workload: Workload,
  options?: { readonly jobs?: number | undefined; readonly seed?: number | string | undefined }
): Effect.Effect<Simulation> =>
  Effect.gen(function*() {
    const seed = options?.seed ?? 0
    const count = Math.floor(options?.jobs ?? 1_000)
    const jobs = count < Infinity ? Math.max(1, count) : 1_000
    const clock = new SimulatedClock(start)
    // two sources, so that the jobs do not depend on the policy
    const source = SeededRandom.make(`jobs ${seed}`)
    const jitter = SeededRandom.make(`jitter ${seed}`)
    const stalenesses: Array<number> = []
    let polls = 0
    yield* Effect.gen(function*() {
      for (let i = 0; i < jobs; i++) {
        const watched = yield* watch(policy, clock, yield* Effect.withRandom(workload.job, source))
        polls += watched.polls
        if (watched.staleness !== undefined) stalenesses.push(watched.staleness)
      }
    }).pipe(Effect.withClock(clock), Effect.withRandom(jitter))
    stalenesses.sort((a, b) => a - b)
    const seen = stalenesses.length
    return {
      jobs,
      expired: jobs - seen,
      pollsPerJob: polls / jobs,
      meanStaleness: Duration.millis(seen === 0 ? Infinity : Number.sumAll(stalenesses) / seen),
      p95Staleness: Duration.millis(stalenesses[Math.ceil(seen * 0.95) - 1] ?? Infinity)
    }
  })

// -----------------------------------------------------------------------------
// workloads
// -----------------------------------------------------------------------------

const jobs = (
  wait: Worker.Distribution,
  run: Worker.Distribution,
  progress?: SimulatedJob["progress"]
): Effect.Effect<SimulatedJob> =>
  Effect.randomWith((random) =>
    Effect.sync(() => {
      const next = () => Effect.runSync(random.next)
      return { wait: wait(next), run: run(next), progress }
    })
  )

const short = Worker.lognormal("4 seconds", 0.2)
const long = Worker.lognormal("1 minute", 0.2)

// a Pareto distribution
const heavyTailed = (random: () => number) => Duration.seconds(5 * (1 - random()) ** (-1 / 1.5))

/**
 * Workloads of usual shapes.
 *
 * - `lognormal`: a wait of about 3 seconds, then a run of about 30 seconds, rarely less than 10 or more than 100.
 * - `video`: a wait of about 5 seconds, then a run of about 90 seconds, which reports progress in fifty steps after a
 *   twentieth of the time.
 * - `bimodal`: a wait of about 1 second, then a run of about 4 seconds for seven jobs of ten, of about a minute for the
 *   others.
 * - `heavyTailed`: a wait of about 2 seconds, then a run of at least 5 seconds: one of a hundred takes longer than 100
 *   seconds, one of ten thousand longer than half an hour.
 *
 * @since 0.1.0
 * @category simulation
 */
export const workloads: { readonly [name in "lognormal" | "video" | "bimodal" | "heavyTailed"]: Workload } = {
  lognormal: {
    name: "lognormal",
    job: jobs(Worker.lognormal("3 seconds", 1), Worker.lognormal("30 seconds", 0.6))
  },
  video: {
    name: "video",
    job: jobs(
      Worker.lognormal("5 seconds", 1),
      Worker.lognormal("90 seconds", 0.35),
      (fraction) => Math.max(0, Math.floor((fraction - 0.05) / 0.95 * 50) / 50)
    )
  },
  bimodal: {
    name: "bimodal",
    job: jobs(Worker.exponential("1 second"), (random) => random() < 0.7 ? short(random) : long(random))
  },
  heavyTailed: { name: "heavy-tailed", job: jobs(Worker.exponential("2 seconds"), heavyTailed) }
}
