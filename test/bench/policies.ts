/**
 * `node --import tsx test/bench/policies.ts`: the polls and the staleness of policies. With `--write`, the tables go
 * into `docs/measured.md`. Time is virtual and the random source has a seed: the figures are exact.
 */
import { DateTime, Duration, Effect, Option, Random, Schedule, ScheduleDecision, ScheduleInterval } from "effect"
import { Cadence, Job, LearnedCadence, WatchPolicy } from "effect-queue-status"
import { PolicySimulation } from "effect-queue-status/testing"
import { readFileSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"

const seed = 42
const trainingSeed = 7
const jobs = 4_000

const simulate = (cadence: Cadence.Cadence, workload: PolicySimulation.Workload, from: number = seed) => {
  const policy = WatchPolicy.withCadence(WatchPolicy.defaultPolicy, cadence)
  const { meanStaleness, p95Staleness, pollsPerJob } = Effect.runSync(
    PolicySimulation.simulate(policy, workload, { jobs, seed: from })
  )
  return { polls: pollsPerJob, mean: Duration.toSeconds(meanStaleness), p95: Duration.toSeconds(p95Staleness) }
}

const lives = (workload: PolicySimulation.Workload, n: number) =>
  Effect.runSync(
    Effect.replicateEffect(workload.job, n).pipe(Effect.withRandom(Random.make(`training ${trainingSeed}`)))
  ).map(({ run, wait }) => ({ wait: Duration.toSeconds(wait), run: Duration.toSeconds(run) }))

const pauses = (f: (now: number, status: Job.JobStatus, polls: number) => Effect.Effect<number>): Cadence.Cadence =>
  Schedule.makeWithState(1, (now, status: Job.JobStatus, polls) =>
    Effect.map(f(now, status, polls), (seconds) => {
      const decision = ScheduleDecision.continueWith(ScheduleInterval.after(now + 1_000 * seconds))
      return [polls + 1, undefined, decision] as const
    }))

// --- AWS SDK for JavaScript v3, `exponentialBackoffWithJitter`, with its defaults: full jitter up to the plateau, which
// is 120 seconds from the eighth poll on, and none at it.
const ceiling = Math.log2(120 / 2) + 1
const awsLike = pauses((_now, _status, polls) =>
  polls > ceiling ? Effect.succeed(120) : Random.nextRange(2, 2 * 2 ** (polls - 1))
)

// --- learned: as many jobs of the same workload as a small service has seen, from another seed
const trained = (
  workload: PolicySimulation.Workload,
  pollCost?: Duration.DurationInput | undefined,
  seen: number = 500
): Cadence.Cadence =>
  Effect.runSync(Effect.gen(function*() {
    const learned = yield* LearnedCadence.make({ pollCost })
    const at = (seconds: number) => Option.some(DateTime.unsafeMake(1e12 + 1_000 * seconds))
    for (const { run, wait } of lives(workload, seen)) {
      yield* learned.observe(Job.Done({
        job: Job.ref("simulated", "trained"),
        createdAt: at(0),
        claimedAt: at(wait),
        doneAt: at(wait + run),
        retries: Option.some(0)
      }))
    }
    return learned.cadence
  }))

// --- the best possible: dynamic programming over the known distribution
//
// A poll costs `cost` seconds; a second between an end and its observation costs one. Waits and runs are independent. A
// poll returns the phase and its start; progress is ignored. So the state is the time since submission while the job is
// pending, and the time since the claim while it runs. In each state, the next poll minimises the expected staleness,
// or the remaining cost if the job has not ended. Times are on a grid of 0.1 seconds, or 1.5 % where that is more.
// `cost` is then chosen so that there are as many polls as with the default cadence.

const indexAt = (sorted: ReadonlyArray<number>, value: number): number => {
  let [low, high] = [0, sorted.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (sorted[middle]! <= value) low = middle + 1
    else high = middle
  }
  return low
}

/** The fraction of all times that are at most `seconds`. */
type Distribution = (seconds: number) => number

// Abramowitz and Stegun, 7.1.26
const erf = (x: number): number => {
  const t = 1 / (1 + 0.3275911 * Math.abs(x))
  const series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
  return Math.sign(x) * (1 - series * Math.exp(-x * x))
}
const lognormally = (median: number, sigma: number): Distribution => (seconds) =>
  seconds <= 0 ? 0 : (1 + erf(Math.log(seconds / median) / sigma / Math.SQRT2)) / 2
const exponentially = (mean: number): Distribution => (seconds) => 1 - Math.exp(-seconds / mean)
const mixed = (part: number, one: Distribution, other: Distribution): Distribution => (seconds) =>
  part * one(seconds) + (1 - part) * other(seconds)

// The distributions of `PolicySimulation.workloads`.
const distributions: { readonly [name: string]: { readonly wait: Distribution; readonly run: Distribution } } = {
  lognormal: { wait: lognormally(3, 1), run: lognormally(30, 0.6) },
  video: { wait: lognormally(5, 1), run: lognormally(90, 0.35) },
  bimodal: { wait: exponentially(1), run: mixed(0.7, lognormally(4, 0.2), lognormally(60, 0.2)) },
  "heavy-tailed": { wait: exponentially(2), run: (seconds) => seconds <= 5 ? 0 : 1 - (5 / seconds) ** 1.5 }
}

const checkSample = (name: string, sample: ReadonlyArray<number>, distribution: Distribution) => {
  const sorted = [...sample].sort((a, b) => a - b)
  const off = Math.max(...sorted.map((value, i) => Math.abs((i + 0.5) / sorted.length - distribution(value))))
  if (off > 0.02) throw new Error(`${name} is not the distribution that it is taken for: ${off}`)
}

const gridTo = (end: number): ReadonlyArray<number> => {
  const grid = [0]
  while (grid.at(-1)! <= end) grid.push(grid.at(-1)! + Math.max(0.1, 0.015 * grid.at(-1)!))
  return grid
}

const quantile = (distribution: Distribution, part: number): number => {
  let [low, high] = [0, 1e6]
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2
    if (distribution(middle) < part) low = middle
    else high = middle
  }
  return high
}

const known = (workload: PolicySimulation.Workload) => {
  const { run, wait } = distributions[workload.name]!
  const sample = lives(workload, 10_000)
  checkSample(workload.name, sample.map((job) => job.run), run)
  checkSample(workload.name, sample.map((job) => job.wait), wait)
  // until one job in a million has not ended
  const grid = gridTo(quantile(run, 1 - 1e-6) + quantile(wait, 1 - 1e-6))
  const ended = grid.map(run)
  // the mean time of the ended jobs, times their fraction; they are spread evenly between two times
  const sums = [0]
  for (let i = 1; i < grid.length; i++) {
    sums.push(sums[i - 1]! + (ended[i]! - ended[i - 1]!) * (grid[i]! + grid[i - 1]!) / 2)
  }
  // the waits, as 200 equally likely values
  const claims = Array.from({ length: 200 }, (_, i) => quantile(wait, (i + 0.5) / 200))
  return { grid, ended, sums, claims }
}

const best = ({ claims, ended, grid, sums }: ReturnType<typeof known>, cost: number): Cadence.Cadence => {
  const running = grid.map(() => ({ value: cost, next: grid.length - 1 }))
  for (let i = grid.length - 2; i >= 0; i--) {
    const alive = 1 - ended[i]!
    let least = { value: Infinity, next: i + 1 }
    for (let j = i + 1; j < grid.length; j++) {
      const staleness = grid[j]! * (ended[j]! - ended[i]!) - (sums[j]! - sums[i]!)
      const value = cost + (staleness + (1 - ended[j]!) * running[j]!.value) / alive
      if (value < least.value) least = { value, next: j }
    }
    running[i] = least
  }

  // the cost of a poll now for a job that was claimed `time` ago and was not polled since
  const looks = grid.map((time, i) => time * ended[i]! - sums[i]! + (1 - ended[i]!) * running[i]!.value)
  const claimedAgo = (time: number): number => {
    const i = Math.min(grid.length - 2, indexAt(grid, time) - 1)
    const part = Math.min(1, (time - grid[i]!) / (grid[i + 1]! - grid[i]!))
    return looks[i]! * (1 - part) + looks[i + 1]! * part
  }
  const claimed = grid.map((time) => indexAt(claims, time))
  const costOfClaims = grid.map((time, j) => {
    const upTo = [0]
    for (let k = 0; k < claimed[j]!; k++) upTo.push(upTo[k]! + claimedAgo(time - claims[k]!))
    return upTo
  })
  const pending = grid.map(() => ({ value: 0, next: -1 }))
  for (let i = grid.length - 2; i >= 0; i--) {
    const waiting = claims.length - claimed[i]!
    if (waiting === 0) continue
    let least = { value: Infinity, next: i + 1 }
    for (let j = i + 1; j < grid.length; j++) {
      const found = costOfClaims[j]![claimed[j]!]! - costOfClaims[j]![claimed[i]!]!
      const value = cost + (found + (claims.length - claimed[j]!) * pending[j]!.value) / waiting
      if (value < least.value) least = { value, next: j }
    }
    pending[i] = least
  }

  return pauses((now, status) => {
    const since = status._tag === "Pending" ? status.createdAt : status.claimedAt
    const age = (now - Option.getOrThrow(since).epochMillis) / 1_000
    const plan = status._tag === "Pending" ? pending : running
    const next = plan[indexAt(grid, age + 1e-6) - 1]?.next ?? -1
    // longer than any known time
    return Effect.succeed(next < 0 || grid[next]! <= age ? Math.max(0.1, 0.1 * age) : grid[next]! - age)
  })
}

const bestAt = (workload: PolicySimulation.Workload, polls: number) => {
  const distribution = known(workload)
  let [low, high] = [0.001, 100]
  for (let i = 0; i < 14; i++) {
    const cost = Math.sqrt(low * high)
    if (simulate(best(distribution, cost), workload, trainingSeed).polls > polls) low = cost
    else high = cost
  }
  return { cadence: best(distribution, high), cost: high }
}

// --- tables

const adaptive = (cap: Duration.DurationInput) => Cadence.adaptive({ floor: "200 millis", cap })
const exponential = (cap: Duration.DurationInput) => Cadence.exponential({ base: "500 millis", factor: 1.5, cap })

const table = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string =>
  [head, head.map((_, i) => i === 0 ? "---" : "---:"), ...rows].map((row) => `| ${row.join(" | ")} |`).join("\n")

const figures = ({ mean, p95, polls }: ReturnType<typeof simulate>) => [
  polls.toFixed(2),
  `${mean.toFixed(2)} s`,
  `${p95.toFixed(2)} s`
]

const { bimodal, heavyTailed, lognormal, video } = PolicySimulation.workloads

const policies = (workload: PolicySimulation.Workload) => {
  const { cadence, cost } = bestAt(workload, simulate(Cadence.defaultCadence, workload, trainingSeed).polls)
  const optimum = simulate(cadence, workload)
  const price = ({ mean, polls }: ReturnType<typeof simulate>) => mean + cost * polls
  const contenders: ReadonlyArray<readonly [string, Cadence.Cadence]> = [
    ["fixed 0.5 s", Cadence.fixed("500 millis")],
    ["fixed 1 s", Cadence.fixed("1 second")],
    ["fixed 2 s", Cadence.fixed("2 seconds")],
    ["like AWS's waiters, 2 s to 120 s", awsLike],
    ["default", Cadence.defaultCadence],
    ["adaptive, cap 5 s", adaptive("5 seconds")],
    ["adaptive, cap 15 s", adaptive("15 seconds")],
    ["learned, a poll worth 0.2 s (its default)", trained(workload)],
    ["learned, a poll worth λ", trained(workload, Duration.seconds(cost))],
    ["best possible without progress", cadence]
  ]
  const rows = contenders.map(([name, contender]) => {
    const result = simulate(contender, workload)
    return [name, ...figures(result), (price(result) / price(optimum)).toFixed(2)]
  })
  const head = [`${workload.name}, λ = ${cost.toFixed(2)} s`, "polls a job", "mean staleness", "p95 staleness", "cost"]
  return table(head, rows)
}

const telling = (name: string, progress: PolicySimulation.SimulatedJob["progress"]) =>
  [name, { name, job: Effect.map(video.job, (job) => ({ ...job, progress })) }] as const

const tellings: ReadonlyArray<readonly [string, PolicySimulation.Workload]> = [
  telling("honest: the fraction that is over", (fraction) => fraction),
  ["honest: fifty steps, after a twentieth without", video],
  telling("none", () => undefined),
  telling("99 % all the time", () => 0.99),
  telling("10 % at the end", (fraction) => fraction / 10),
  telling("100 % when nine tenths are over", (fraction) => Math.min(1, fraction / 0.9)),
  telling("fast at first (√)", Math.sqrt),
  telling("slow at first (square)", (fraction) => fraction ** 2),
  telling("falls from 100 % to 0", (fraction) => 1 - fraction),
  telling("jumps: seven times from 0 to 100 %", (fraction) => fraction * 7 % 1),
  telling("jumps: any number", (fraction) => (fraction * 98_765.4321) % 1)
]

const progress = (cap: Duration.DurationInput) =>
  table(
    ["progress", "polls", "mean", "p95", "polls, exponential", "mean, exponential", "p95, exponential"],
    tellings.map(([name, workload]) => [
      name,
      ...figures(simulate(adaptive(cap), workload)),
      ...figures(simulate(exponential(cap), workload))
    ])
  )

const wrongly = table(
  ["jobs", "learned from", "polls", "mean", "p95", "polls, default", "mean, default", "p95, default"],
  [lognormal, video, bimodal, heavyTailed].flatMap((workload, i, all) =>
    [...all.slice(0, i), ...all.slice(i + 1)].map((other) => [
      workload.name,
      other.name,
      ...figures(simulate(trained(other), workload)),
      ...figures(simulate(Cadence.defaultCadence, workload))
    ])
  )
)

const early = table(
  ["jobs", "learned from", "polls", "mean", "p95"],
  [lognormal, video, bimodal, heavyTailed].flatMap((workload) =>
    [10, 30, 100, 500].map((seen) => [
      workload.name,
      `${seen} jobs`,
      ...figures(simulate(trained(workload, undefined, seen), workload))
    ])
  )
)

const tables = [
  `Seed ${seed}, ${jobs.toLocaleString("en")} jobs a cell; trained with seed ${trainingSeed}.`,
  "### Policies",
  ...[lognormal, video, bimodal, heavyTailed].map(policies),
  "### Adaptive: honest, absent and misleading progress",
  "Jobs of the video workload. The cap is 5 seconds:",
  progress("5 seconds"),
  "The cap is 15 seconds:",
  progress("15 seconds"),
  "### Learned: from few jobs, and from the wrong ones",
  early,
  "What was learned from one workload, when the jobs are of another:",
  wrongly
].join("\n\n")

if (process.argv.includes("--write")) {
  const page = fileURLToPath(new URL("../../docs/measured.md", import.meta.url))
  const [begin, end] = ["<!-- measured -->\n", "\n<!-- end -->"]
  const [before = ""] = readFileSync(page, "utf8").split(begin)
  const [, after = ""] = readFileSync(page, "utf8").split(end)
  writeFileSync(page, `${before}${begin}\n${tables}\n${end}${after}`)
} else {
  console.log(tables)
}
