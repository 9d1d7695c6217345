import { assert, describe, it } from "@effect/vitest"
import {
  DateTime,
  Duration,
  Effect,
  FastCheck,
  Option,
  Random,
  Schedule,
  ScheduleDecision,
  ScheduleIntervals
} from "effect"
import { Cadence, Job, WatchPolicy } from "effect-queue-status"
import { PolicySimulation } from "effect-queue-status/testing"

const start = Date.UTC(2026, 0, 1)

const at = (seconds: number | undefined): Option.Option<DateTime.Utc> =>
  Option.map(Option.fromNullable(seconds), (seconds) => DateTime.unsafeMake(start + 1_000 * seconds))

/** A snapshot; times in seconds from the beginning. */
const snapshot = (
  tag: "Pending" | "Running" | "Done",
  options: {
    readonly createdAt?: number | undefined
    readonly claimedAt?: number | undefined
    readonly retries?: number | undefined
    readonly progress?: unknown
  } = {}
): Job.JobStatus => ({
  _tag: tag,
  job: Job.ref("a-model", "a-job"),
  createdAt: at(options.createdAt),
  claimedAt: at(options.claimedAt),
  doneAt: Option.none(),
  info: options.progress === undefined ? {} : { progress: options.progress },
  inputs: {},
  outputs: {},
  priority: Option.none(),
  retries: Option.fromNullable(options.retries),
  warnings: []
})

const pending = snapshot("Pending")
const running = snapshot("Running")

/** No jitter: every random number is the middle of its range. */
const middle: Random.Random = {
  ...Random.make(0),
  next: Effect.succeed(0.5),
  nextRange: (min, max) => Effect.succeed((min + max) / 2)
}

/**
 * The times of the polls of a watch, in seconds from its beginning. Each poll returns `statusAt`, until that is
 * undefined or the cadence ends.
 */
const pollsOf = (
  cadence: Cadence.Cadence,
  statusAt: (seconds: number, poll: number) => Job.JobStatus | undefined,
  random: Random.Random = middle
): ReadonlyArray<number> =>
  Effect.runSync(
    Effect.gen(function*() {
      const polls: Array<number> = []
      let state: unknown = cadence.initial
      let now = start
      while (true) {
        const seconds = (now - start) / 1_000
        polls.push(seconds)
        const status = statusAt(seconds, polls.length - 1)
        if (status === undefined) return polls
        const [next, , decision] = yield* cadence.step(now, status, state)
        if (ScheduleDecision.isDone(decision)) return polls
        state = next
        now = Math.max(now, ScheduleIntervals.start(decision.intervals))
      }
    }).pipe(Effect.withRandom(random))
  )

const first = (n: number, status: Job.JobStatus = pending) => (_: number, poll: number) => poll < n ? status : undefined

const pausesOf = (polls: ReadonlyArray<number>): ReadonlyArray<number> =>
  polls.slice(1).map((poll, i) => poll - polls[i]!)

const assertClose = (actual: ReadonlyArray<number>, expected: ReadonlyArray<number>) => {
  assert.strictEqual(actual.length, expected.length, `${actual}`)
  actual.forEach((value, i) => assert.approximately(value, expected[i]!, 1e-6, `${actual}`))
}

/** Invalid durations, and the pause in seconds that replaces each. */
const nonsense: ReadonlyArray<readonly [Duration.DurationInput, number]> = [
  [0, 0.05],
  [-5, 0.05],
  [NaN, 0.05],
  [Infinity, 86_400],
  ["1000 days", 86_400]
]

describe("fixed", () => {
  it("pauses for a random part of the interval first, then for all of it", () => {
    for (let seed = 0; seed < 50; seed++) {
      const [phase, ...rest] = pausesOf(pollsOf(Cadence.fixed("2 seconds"), first(5), Random.make(seed)))
      assert.isAtLeast(phase!, 0)
      assert.isBelow(phase!, 2)
      assertClose(rest, [2, 2, 2, 2])
    }
  })

  it("accepts any interval", () => {
    for (const [interval, pause] of nonsense) {
      assertClose(pausesOf(pollsOf(Cadence.fixed(interval), first(2))), [pause / 2, pause])
    }
  })
})

describe("exponential", () => {
  const polls = (base: Duration.DurationInput, factor: number, cap: Duration.DurationInput, n: number) =>
    pollsOf(Cadence.exponential({ base, factor, cap }), first(n))

  it("polls at the expected times", () => {
    assertClose(polls("1 second", 2, "10 seconds", 6), [0, 1, 3, 7, 15, 25, 35])
    assertClose(
      pollsOf(Cadence.defaultCadence, first(8)).map((poll) => Math.round(poll * 10) / 10),
      [0, 0.5, 1.3, 2.4, 4.1, 6.6, 10.4, 15.4, 20.4]
    )
  })

  it("varies each pause by up to a fifth", () => {
    const cadence = Cadence.exponential({ base: "1 second", factor: 1, cap: "1 second" })
    const pauses = pausesOf(pollsOf(cadence, first(1_000), Random.make(1)))
    assert.approximately(Math.min(...pauses), 0.8, 0.01)
    assert.approximately(Math.max(...pauses), 1.2, 0.01)
  })

  it("accepts any durations and factors", () => {
    for (const [base, pause] of nonsense) assertClose(polls(base, 1, "1000 days", 2), [0, pause, 2 * pause])
    for (const [cap, pause] of nonsense.slice(0, 3)) assertClose(polls("1 second", 2, cap, 2), [0, pause, 2 * pause])
    assertClose(polls("2 seconds", 2, "1 second", 2), [0, 1, 2])
    for (const factor of [0.5, 0, -1, NaN]) assertClose(polls("1 second", factor, "5 seconds", 2), [0, 1, 2])
    assertClose(polls("1 second", Infinity, "5 seconds", 3), [0, 1, 6, 11])
  })
})

describe("byPhase", () => {
  it("restarts the cadence at each change of the phase", () => {
    const exponential = Cadence.exponential({ base: "1 second", factor: 2, cap: "1 minute" })
    const cadence = Cadence.byPhase({ pending: exponential, running: Schedule.spaced("10 seconds") })
    const statuses = [pending, pending, pending, running, running, pending, pending, running]
    assertClose(pausesOf(pollsOf(cadence, (_, poll) => statuses[poll])), [1, 2, 4, 10, 10, 1, 2, 10])
  })

  it("ends when the cadence of the phase does", () => {
    const cadence = Cadence.byPhase({ pending: Schedule.recurs(1), running: Schedule.spaced("1 second") })
    assertClose(pollsOf(cadence, first(5)), [0, 0])
    assertClose(pollsOf(cadence, (_, poll) => [pending, running, pending, pending, pending][poll]), [0, 0, 1, 1])
  })
})

describe("byAge", () => {
  const cadence = Cadence.byAge({
    upTo: [["10 seconds", "2 seconds"], ["1 minute", "15 seconds"]],
    otherwise: "1 minute"
  })

  it("takes the age from the server's time of creation", () => {
    const statusAt = (createdAt: number | undefined) => first(7, snapshot("Pending", { createdAt }))
    assertClose(pollsOf(cadence, statusAt(0)), [0, 2, 4, 6, 8, 10, 25, 40])
    assertClose(pollsOf(cadence, statusAt(-50)), [0, 15, 75, 135, 195, 255, 315, 375])
    assertClose(pollsOf(cadence, statusAt(-60)), [0, 60, 120, 180, 240, 300, 360, 420])
  })

  it("takes the age from the beginning of the watch if that time is missing, or ahead of the local clock", () => {
    for (const createdAt of [undefined, 5, 1e6]) {
      assertClose(pollsOf(cadence, first(7, snapshot("Pending", { createdAt }))), [0, 2, 4, 6, 8, 10, 25, 40])
    }
  })

  it("accepts any durations", () => {
    for (const [input, pause] of nonsense) {
      assertClose(pollsOf(Cadence.byAge({ upTo: [], otherwise: input }), first(1)), [0, pause])
      assertClose(pollsOf(Cadence.byAge({ upTo: [["1 minute", input]], otherwise: 1 }), first(1)), [0, pause])
    }
    for (const age of [0, -1, NaN]) {
      assertClose(pollsOf(Cadence.byAge({ upTo: [[age, "1 hour"]], otherwise: "1 second" }), first(1)), [0, 1])
    }
    const always = Cadence.byAge({ upTo: [[Infinity, "2 seconds"]], otherwise: "1 hour" })
    assertClose(pollsOf(always, first(1, snapshot("Pending", { createdAt: -1e9 }))), [0, 2])
  })
})

describe("adaptive", () => {
  const options = { floor: "200 millis", cap: "5 seconds" } as const
  const exponential = Cadence.exponential({ base: "500 millis", factor: 1.5, cap: "5 seconds" })

  /** A job that is claimed at once and runs for `run` seconds. */
  const job = (run: number, progress: (fraction: number, poll: number) => unknown) => (seconds: number, poll: number) =>
    seconds < run ? snapshot("Running", { claimedAt: 0, progress: progress(seconds / run, poll) }) : undefined

  const rounded = (polls: ReadonlyArray<number>) => polls.map((poll) => Math.round(poll * 10) / 10)

  it("polls at the expected times", () => {
    assert.deepStrictEqual(
      rounded(pollsOf(Cadence.adaptive(options), job(17.6, (x) => x))),
      [0, 0.5, 1.3, 2.4, 4.1, 6.6, 10.4, 15.4, 17.7]
    )
    assert.deepStrictEqual(
      rounded(pollsOf(Cadence.adaptive(options), job(30, () => 0.99))),
      [0, 0.5, 0.7, 1.3, 1.7, 2.4, 3.2, 4.1, 6.6, 8.2, 10.4, 15.4, 20.4, 25.4, 30.4]
    )
  })

  it("is the exponential cadence if no progress is reported", () => {
    for (const progress of [undefined, "soon", NaN, -1, 0, 1e9]) {
      const random = () => Random.make("the same")
      assert.deepStrictEqual(
        pollsOf(Cadence.adaptive(options), job(60, () => progress), random()),
        pollsOf(exponential, job(60, () => progress), random())
      )
    }
    const waiting = (seconds: number) => seconds < 60 ? snapshot("Pending", { progress: 0.99 }) : undefined
    assert.deepStrictEqual(pollsOf(Cadence.adaptive(options), waiting), pollsOf(exponential, waiting))
  })

  const misleading: { readonly [name: string]: FastCheck.Arbitrary<(fraction: number, poll: number) => number> } = {
    stuck: FastCheck.double({ min: 0, max: 1, noNaN: true }).map((stuck) => () => stuck),
    early: FastCheck.double({ min: 1, max: 10, noNaN: true }).map((pace) => (x) => Math.min(1, x * pace)),
    late: FastCheck.double({ min: 0, max: 1, noNaN: true }).map((pace) => (x) => x * pace),
    falling: FastCheck.constant((x) => 1 - x),
    jumping: FastCheck.array(FastCheck.double({ min: 0, max: 1, noNaN: true }), { minLength: 1 })
      .map((values) => (_, poll) => values[poll % values.length]!)
  }

  for (const [name, arbitrary] of Object.entries(misleading)) {
    it(`keeps every poll of the exponential cadence, and adds few, if progress is ${name}`, () => {
      FastCheck.assert(FastCheck.property(
        arbitrary,
        FastCheck.double({ min: 0.01, max: 300, noNaN: true }),
        FastCheck.integer({ min: 1, max: 60 }),
        FastCheck.integer(),
        (progress, run, cap, seed) => {
          const polls = pollsOf(
            Cadence.adaptive({ floor: "200 millis", cap: Duration.seconds(cap) }),
            job(run, progress),
            Random.make(seed)
          )
          const plain = pollsOf(
            Cadence.exponential({ base: "500 millis", factor: 1.5, cap: Duration.seconds(cap) }),
            job(run, () => undefined),
            Random.make(seed)
          )
          // all but the last, which may come sooner since it is aimed at the end
          const times = new Set(polls.map((poll) => poll.toFixed(3)))
          for (const poll of plain.slice(0, -1)) assert(times.has(poll.toFixed(3)), `${poll} of ${plain} in ${polls}`)
          assert.isAtMost(polls.at(-1)!, plain.at(-1)! + 1e-6)
          assert.isAtMost(polls.length, plain.length + Math.log2(cap / 0.2) + 1)
        }
      ))
    })
  }

  it("sees the end within 0.4 seconds if progress is linear, with one more poll at most", () => {
    FastCheck.assert(FastCheck.property(
      FastCheck.double({ min: 5, max: 600, noNaN: true }),
      FastCheck.integer(),
      (run, seed) => {
        const polls = pollsOf(Cadence.adaptive(options), job(run, (x) => x), Random.make(seed))
        const plain = pollsOf(exponential, job(run, () => undefined), Random.make(seed))
        assert.isAtMost(polls.length, plain.length + 1)
        assert.isAtMost(polls.at(-1)! - run, 0.4)
      }
    ))
  })

  it("restarts its predictions with a new attempt", () => {
    const stuck = (retries: number, claimedAt: number) => snapshot("Running", { claimedAt, retries, progress: 0.99 })
    const polls = pollsOf(
      Cadence.adaptive(options),
      (seconds) => seconds < 41 ? stuck(0, 0) : seconds < 100 ? stuck(1, 41) : undefined
    )
    const pauses = pausesOf(polls)
    const after = polls.findIndex((poll) => poll >= 41)
    // it no longer predicts the end of the first attempt, and predicts that of the second
    assertClose(pauses.slice(after - 3, after), [5, 5, 5])
    assert.isBelow(Math.min(...pauses.slice(after)), 0.5)
    assertClose(pauses.slice(-3), [5, 5, 5])
  })

  it("keeps the attempt after a stale snapshot", () => {
    const polls = pollsOf(Cadence.adaptive(options), (seconds, poll) =>
      seconds >= 100
        ? undefined
        : snapshot(poll % 2 === 0 ? "Running" : "Pending", { claimedAt: 0, retries: 0, progress: 0.99 }))
    const plain = pollsOf(exponential, (seconds) => seconds < 100 ? pending : undefined)
    assert.isAtMost(polls.length, plain.length + Math.log2(5 / 0.2) + 1)
  })

  it("takes the time of the attempt from its first snapshot, if the claim is missing or ahead of the local clock", () => {
    const end = 30
    for (const claimedAt of [undefined, 1e6]) {
      const polls = pollsOf(
        Cadence.adaptive(options),
        (seconds) => seconds < end ? snapshot("Running", { claimedAt, progress: seconds / end }) : undefined
      )
      assert.isAtMost(polls.at(-1)! - end, 0.11)
    }
  })

  it("reads progress by the given rule", () => {
    const cadence = Cadence.adaptive({
      ...options,
      readProgress: (info) =>
        typeof info["progress"] === "string" ? Option.some(parseFloat(info["progress"])) : Option.none()
    })
    const polls = pollsOf(cadence, job(30, (x) => `${x}`))
    assert.isAtMost(polls.at(-1)! - 30, 0.11)
    const senseless = Cadence.adaptive({ ...options, readProgress: () => Option.some(NaN) })
    assertClose(pollsOf(senseless, job(30, () => 1)), pollsOf(exponential, job(30, () => 1)))
  })

  it("makes no more polls if timers fire a little early", () => {
    const cadence = Cadence.adaptive(options)
    const polls = Effect.runSync(Effect.withRandom(
      Effect.gen(function*() {
        let [state, now, polls] = [cadence.initial as unknown, start, 0]
        for (; now < start + 60_000; polls++) {
          const [next, , decision] = yield* cadence.step(now, pending, state)
          assert(ScheduleDecision.isContinue(decision))
          state = next
          now = Math.floor(ScheduleIntervals.start(decision.intervals)) - 1
        }
        return polls
      }),
      middle
    ))
    assert.strictEqual(polls, pollsOf(exponential, (seconds) => seconds < 60 ? pending : undefined).length - 1)
  })

  it("accepts any durations and factors", () => {
    const polls = (options: Parameters<typeof Cadence.adaptive>[0]) =>
      pollsOf(Cadence.adaptive(options), first(3)).slice(1)
    // a floor above the cap is the cap, a base below the floor is the floor
    assertClose(polls({ floor: "9 seconds", cap: "2 seconds" }), [2, 4, 6])
    assertClose(polls({ floor: "1 second", cap: "2 seconds", base: 1, factor: 1 }), [1, 2, 3])
    for (const factor of [0.5, 0, -1, NaN]) {
      assertClose(polls({ floor: 0, cap: "5 seconds", base: "1 second", factor }), [1, 2, 3])
    }
    assertClose(polls({ floor: 0, cap: "5 seconds", base: "1 second", factor: Infinity }), [1, 6, 11])
    for (const [input, pause] of nonsense) {
      assertClose(polls({ floor: input, cap: "1000 days", base: 0, factor: 1 }), [pause, 2 * pause, 3 * pause])
      assertClose(polls({ floor: 0, cap: input, base: "1000 days" }), [pause, 2 * pause, 3 * pause])
    }
  })

  it.effect("halves the staleness in the simulator, and changes nothing without progress", () =>
    Effect.gen(function*() {
      const run = (cadence: Cadence.Cadence, workload: PolicySimulation.Workload) =>
        PolicySimulation.simulate(WatchPolicy.withCadence(WatchPolicy.defaultPolicy, cadence), workload, { jobs: 300 })
      const { bimodal, video } = PolicySimulation.workloads
      const honest = yield* run(Cadence.adaptive(options), video)
      const plain = yield* run(exponential, video)
      assert.isAtMost(honest.pollsPerJob, plain.pollsPerJob * 1.01)
      assert(Duration.lessThan(honest.meanStaleness, Duration.times(plain.meanStaleness, 0.5)))
      assert(Duration.lessThan(honest.p95Staleness, Duration.times(plain.p95Staleness, 0.5)))
      assert.deepStrictEqual(yield* run(Cadence.adaptive(options), bimodal), yield* run(exponential, bimodal))
    }))
})

describe("every cadence", () => {
  const seconds = FastCheck.double({ min: -100, max: 1_000, noNaN: true })
  const anySnapshot = FastCheck.record({
    tag: FastCheck.constantFrom("Pending" as const, "Running" as const),
    createdAt: FastCheck.option(seconds, { nil: undefined }),
    claimedAt: FastCheck.option(seconds, { nil: undefined }),
    retries: FastCheck.option(FastCheck.nat(3), { nil: undefined }),
    progress: FastCheck.oneof(FastCheck.double(), FastCheck.double({ min: 0, max: 1 }), FastCheck.anything())
  }).map(({ tag, ...options }) => snapshot(tag, options))

  const cadences: ReadonlyArray<readonly [string, Cadence.Cadence, floor: number, cap: number]> = [
    // its first pause may be shorter; a watch has its own minimum pause
    ["fixed", Cadence.fixed("2 seconds"), 0, 2],
    ["exponential", Cadence.exponential({ base: "1 second", factor: 2, cap: "10 seconds" }), 0.8, 12],
    ["adaptive", Cadence.adaptive({ floor: "500 millis", cap: "10 seconds" }), 0.5, 12],
    [
      "byPhase",
      Cadence.byPhase({
        pending: Cadence.exponential({ base: "1 second", factor: 2, cap: "10 seconds" }),
        running: Cadence.adaptive({ floor: "500 millis", cap: "20 seconds" })
      }),
      0.5,
      24
    ],
    ["byAge", Cadence.byAge({ upTo: [["10 seconds", "1 second"]], otherwise: "10 seconds" }), 0.8, 12]
  ]

  for (const [name, cadence, floor, cap] of cadences) {
    it(`${name} keeps its pauses between its floor and its cap, for any snapshots`, () => {
      FastCheck.assert(FastCheck.property(FastCheck.array(anySnapshot), FastCheck.integer(), (statuses, seed) => {
        for (const pause of pausesOf(pollsOf(cadence, (_, poll) => statuses[poll], Random.make(seed)))) {
          assert.isAtLeast(pause, floor - 1e-6)
          assert.isAtMost(pause, cap + 1e-6)
        }
      }))
    })

    it(`${name} composes with the operators of Schedule`, () => {
      FastCheck.assert(FastCheck.property(
        FastCheck.array(anySnapshot),
        FastCheck.integer(),
        FastCheck.integer({ min: 100, max: 20_000 }),
        (statuses, seed, millis) => {
          const statusAt = (_: number, poll: number) => statuses[poll]
          const other = Schedule.spaced(millis)
          const pauses = (cadence: Cadence.Cadence) => pausesOf(pollsOf(cadence, statusAt, Random.make(seed)))
          // the longer of both pauses, and the shorter
          for (const pause of pauses(Schedule.intersect(cadence, other))) assert.isAtLeast(pause, millis / 1_000 - 1e-6)
          for (const pause of pauses(Schedule.union(cadence, other))) assert.isAtMost(pause, millis / 1_000 + 1e-6)
          // and it recurs as long as both do, or either
          const recurs = Schedule.recurs(3)
          assert.isAtMost(pauses(Schedule.intersect(cadence, recurs)).length, 3)
          assert.strictEqual(pauses(Schedule.union(cadence, recurs)).length, statuses.length)
        }
      ))
    })
  }

  it("intersect is the longer pause and union the shorter, poll by poll", () => {
    const exponential = Cadence.exponential({ base: "1 second", factor: 2, cap: "8 seconds" })
    const spaced = Schedule.spaced("3 seconds")
    assertClose(pausesOf(pollsOf(Schedule.intersect(exponential, spaced), first(5))), [3, 3, 4, 8, 8])
    assertClose(pausesOf(pollsOf(Schedule.union(exponential, spaced), first(5))), [1, 2, 3, 3, 3])
  })
})
