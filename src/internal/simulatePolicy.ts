/**
 * Runs a watch policy against made-up jobs, in a time that is moved by hand.
 *
 * @internal
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Job from "../Job.js"
import type { SimulatedJob, Simulation, WatchPolicy, Workload } from "../WatchPolicy.js"
import * as JobState from "./jobState.js"
import * as Pacer from "./pacer.js"
import { nextExpiry } from "./sighting.js"

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
      JobState.accept(state, status, clock.now, Either.getOrThrow(JobState.derive(state, status, { observedAt })))
      const next = clock.now + (yield* pause(status))
      if (next >= nextExpiry(start, state, deadline).at) return { polls, staleness: undefined }
      clock.now = next
      polls++
    }
    return { polls, staleness: clock.now - life.doneAt }
  })

const sum = (values: ReadonlyArray<number>): number => values.reduce((a, b) => a + b, 0)

/** @internal */
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

/** @internal */
export const workloads = {
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
} as const satisfies { readonly [name: string]: Workload }
