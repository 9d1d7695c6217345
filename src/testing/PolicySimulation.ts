/**
 * What a watch policy costs, and how soon it sees the end of a job, by simulation: thousands of made-up jobs a second,
 * in virtual time.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Job from "../model/Job.js"
import * as Pacer from "../policy/internal/scheduleDriver.js"
import type { WatchPolicy } from "../policy/WatchPolicy.js"
import { nextExpiry } from "../watch/internal/expiry.js"
import * as JobState from "../watch/internal/jobState.js"

// -----------------------------------------------------------------------------
// models
// -----------------------------------------------------------------------------

/**
 * One job as it goes without a watch.
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
   * What the worker reports as `info.progress` when a given fraction of the run, from 0 to 1, is over. Defaults to no
   * progress.
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
  /** Makes one of the jobs, by chance, which is to be taken from Effect's `Random`. */
  readonly job: Effect.Effect<SimulatedJob>
}

/**
 * What a policy costs, and what it is worth.
 *
 * @since 0.1.0
 * @category models
 */
export interface Simulation {
  /** How many jobs were simulated. */
  readonly jobs: number
  /** Of the `jobs`, those whose end was not seen, since a deadline of the policy passed first. Their polls count. */
  readonly expired: number
  /** Requests a job, on average; the one that sees the end is one of them. */
  readonly pollsPerJob: number
  /** The time from the end of a job until a poll sees it, on average. Infinite if no end was seen at all. */
  readonly meanStaleness: Duration.Duration
  /**
   * The time from the end of a job until a poll sees it, for all but one job in twenty. Infinite if no end was seen at
   * all.
   */
  readonly p95Staleness: Duration.Duration
}

// -----------------------------------------------------------------------------
// the watch
// -----------------------------------------------------------------------------

// Every job is submitted, and its watch begins, at this moment.
const start = Date.UTC(2026, 0, 1)

class HandClock implements Clock.Clock {
  readonly [Clock.ClockTypeId]: Clock.ClockTypeId = Clock.ClockTypeId
  now = start
  readonly currentTimeMillis = Effect.sync(() => this.now)
  readonly currentTimeNanos = Effect.sync(() => this.unsafeCurrentTimeNanos())
  unsafeCurrentTimeMillis() {
    return this.now
  }
  unsafeCurrentTimeNanos() {
    return BigInt(Math.floor(this.now * 1_000)) * 1_000n
  }
  sleep(duration: Duration.Duration) {
    return Effect.sync(() => {
      this.now += Duration.toMillis(duration)
    })
  }
}

interface Life {
  readonly claimedAt: number
  readonly doneAt: number
  readonly progress: (fraction: number) => number | undefined
}

const noProgress = () => undefined

const lifeOf = ({ progress = noProgress, run, wait }: SimulatedJob): Life => {
  const claimedAt = start + Duration.toMillis(wait)
  return { claimedAt, doneAt: claimedAt + Duration.toMillis(run), progress }
}

const common: Job.Snapshot = {
  job: Job.ref("simulated", "simulated"),
  createdAt: Option.some(DateTime.unsafeMake(start)),
  claimedAt: Option.none(),
  doneAt: Option.none(),
  info: {},
  inputs: {},
  outputs: {},
  priority: Option.none(),
  retries: Option.some(0),
  warnings: []
}

const time = (millis: number): Option.Option<DateTime.Utc> => Option.some(DateTime.unsafeMake(millis))

const observedAt = DateTime.unsafeMake(start)

const progressOf = ({ claimedAt, doneAt, progress }: Life, now: number): number | undefined =>
  progress(doneAt > claimedAt ? (now - claimedAt) / (doneAt - claimedAt) : 1)

// What the service would say of a job that has not ended.
const snapshot = (life: Life, now: number): Job.Pending | Job.Running => {
  if (now < life.claimedAt) return { ...common, _tag: "Pending" }
  const progress = progressOf(life, now)
  return {
    ...common,
    _tag: "Running",
    claimedAt: time(life.claimedAt),
    info: progress === undefined ? {} : { progress }
  }
}

interface Watched {
  readonly polls: number
  /** Milliseconds; nothing when a deadline of the policy passed first. */
  readonly staleness: number | undefined
}

const watch = ({ cadence, deadline }: WatchPolicy, clock: HandClock, life: Life): Effect.Effect<Watched> =>
  Effect.gen(function*() {
    const pause = yield* Pacer.ofCadence(cadence)
    let polls = 1
    const state = JobState.make(undefined, start)
    while (clock.now < life.doneAt) {
      const status = snapshot(life, clock.now)
      JobState.accept(state, status, clock.now, Either.getOrThrow(JobState.deriveFrom(state, status, { observedAt })))
      const next = clock.now + (yield* pause(status))
      if (next >= nextExpiry(start, state, deadline).at) return { polls, staleness: undefined }
      clock.now = next
      polls++
    }
    return { polls, staleness: clock.now - life.doneAt }
  })

const sum = (values: ReadonlyArray<number>): number => values.reduce((a, b) => a + b, 0)

/**
 * Runs a policy against made-up jobs, thousands a second: its cadence and the deadlines of the watch, in virtual time.
 * Each watch begins with its job, and every request is answered at once.
 *
 * It draws 1,000 jobs unless told otherwise, always the same ones for the same seed, whatever the policy.
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
    const jobs = Math.max(1, Math.floor(options?.jobs ?? 1_000)) || 1_000
    const clock = new HandClock()
    // two sources, so that every policy is given the same jobs
    const source = Random.make(`jobs ${seed}`)
    const jitter = Random.make(`jitter ${seed}`)
    const next = Effect.map(Effect.withRandom(workload.job, source), lifeOf)
    const stalenesses: Array<number> = []
    let polls = 0
    yield* Effect.gen(function*() {
      for (let i = 0; i < jobs; i++) {
        const life = yield* next
        clock.now = start
        const watched = yield* watch(policy, clock, life)
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
      meanStaleness: Duration.millis(seen === 0 ? Infinity : sum(stalenesses) / seen),
      p95Staleness: Duration.millis(stalenesses[Math.ceil(seen * 0.95) - 1] ?? Infinity)
    }
  })

// -----------------------------------------------------------------------------
// workloads
// -----------------------------------------------------------------------------

// Neither is ever 0, so that a logarithm can be taken.
const uniform = Effect.map(Random.next, (x) => 1 - x)

const normal = Effect.zipWith(uniform, uniform, (a, b) => Math.sqrt(-2 * Math.log(a)) * Math.cos(2 * Math.PI * b))

const lognormal = (median: number, sigma: number): Effect.Effect<number> =>
  Effect.map(normal, (x) => median * Math.exp(sigma * x))

const exponential = (mean: number): Effect.Effect<number> => Effect.map(uniform, (x) => -mean * Math.log(x))

const pareto = (least: number, alpha: number): Effect.Effect<number> =>
  Effect.map(uniform, (x) => least * x ** (-1 / alpha))

const seconds = (
  wait: Effect.Effect<number>,
  run: Effect.Effect<number>,
  progress?: SimulatedJob["progress"]
): Effect.Effect<SimulatedJob> =>
  Effect.zipWith(wait, run, (wait, run) => ({
    wait: Duration.seconds(wait),
    run: Duration.seconds(run),
    progress
  }))

/**
 * The usual shapes.
 *
 * - `lognormal`: a wait of about 3 seconds, then a run of about 30 that is rarely less than 10 or more than 100.
 * - `video`: a wait of about 5 seconds, then a run of about 90 that reports its progress in fifty steps, after a
 *   twentieth of the time without any.
 * - `bimodal`: a wait of about 1 second; then seven jobs of ten run for about 4 seconds, the others for about a minute.
 * - `heavyTailed`: a wait of about 2 seconds, then a run of 5 seconds at least, and with no mean to speak of: one of a
 *   hundred takes longer than 100 seconds, one of ten thousand longer than half an hour.
 *
 * @since 0.1.0
 * @category simulation
 */
export const workloads: {
  readonly lognormal: Workload
  readonly video: Workload
  readonly bimodal: Workload
  readonly heavyTailed: Workload
} = {
  lognormal: { name: "lognormal", job: seconds(lognormal(3, 1), lognormal(30, 0.6)) },
  video: {
    name: "video",
    // a twentieth of the time the weights are loaded, then there are fifty steps
    job: seconds(
      lognormal(5, 1),
      lognormal(90, 0.35),
      (fraction) => Math.max(0, Math.floor((fraction - 0.05) / 0.95 * 50) / 50)
    )
  },
  bimodal: {
    name: "bimodal",
    job: seconds(
      exponential(1),
      Effect.flatMap(Random.next, (x) => x < 0.7 ? lognormal(4, 0.2) : lognormal(60, 0.2))
    )
  },
  heavyTailed: { name: "heavy-tailed", job: seconds(exponential(2), pareto(5, 1.5)) }
}
