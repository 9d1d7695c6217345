import { assert, describe, it } from "@effect/vitest"
import {
  DateTime,
  Duration,
  Effect,
  FastCheck,
  Layer,
  Option,
  Random,
  Schedule,
  ScheduleDecision,
  ScheduleIntervals,
  Schema,
  TestClock
} from "effect"
import { Cadence, Job, JobQueue, JobStream, JobWatcher, LearnedCadence, WatchPolicy } from "effect-queue-status"
import { PolicySimulation, TestJobQueue, VirtualTime, Worker } from "effect-queue-status/testing"
import { runs } from "../fixtures/runs.js"

const epoch = Date.UTC(2026, 0, 1)

const at = (seconds: number | undefined): Option.Option<DateTime.Utc> =>
  Option.map(Option.fromNullable(seconds), (seconds) => DateTime.unsafeMake(epoch + 1_000 * seconds))

/** A snapshot; times in seconds. */
const snapshot = (
  tag: "Pending" | "Running" | "Done" | "Failed" | "Canceled",
  times: { readonly createdAt?: number; readonly claimedAt?: number; readonly doneAt?: number },
  options: { readonly model?: string; readonly retries?: number } = {}
): Job.JobStatus => ({
  _tag: tag,
  job: Job.ref(options.model ?? "simulated", "a-job"),
  createdAt: at(times.createdAt),
  claimedAt: at(times.claimedAt),
  doneAt: at(times.doneAt),
  info: {},
  inputs: {},
  outputs: {},
  priority: Option.none(),
  retries: Option.fromNullable(options.retries),
  warnings: []
})

const done = (wait: number, run: number, options?: { readonly model?: string; readonly retries?: number }) =>
  snapshot("Done", { createdAt: 0, claimedAt: wait, doneAt: wait + run }, options)

const train = (service: LearnedCadence.Service, workload: PolicySimulation.Workload, jobs: number, seed: string) =>
  Effect.replicateEffect(
    Effect.flatMap(
      workload.job,
      ({ run, wait }) => service.observe(done(Duration.toSeconds(wait), Duration.toSeconds(run)))
    ),
    jobs
  ).pipe(Effect.withRandom(Random.make(seed)), Effect.asVoid)

const simulate = (cadence: Cadence.Cadence, workload: PolicySimulation.Workload) =>
  PolicySimulation.simulate(WatchPolicy.withCadence(WatchPolicy.defaultPolicy, cadence), workload, {
    jobs: 500,
    seed: 42
  })

const pauses = (cadence: Cadence.Cadence, statuses: ReadonlyArray<Job.JobStatus>, seed: number) =>
  Effect.gen(function*() {
    const delays: Array<number> = []
    let [state, now] = [cadence.initial as unknown, epoch]
    for (const status of statuses) {
      const [next, , decision] = yield* cadence.step(now, status, state)
      assert(ScheduleDecision.isContinue(decision))
      delays.push((ScheduleIntervals.start(decision.intervals) - now) / 1_000)
      state = next
      now = ScheduleIntervals.start(decision.intervals)
    }
    return delays
  }).pipe(Effect.withRandom(Random.make(seed)))

/** The first pause of a job of a model that is running. */
const pauseOf = (service: LearnedCadence.Service, model?: string) =>
  Effect.map(
    pauses(
      service.cadence,
      [snapshot("Running", { createdAt: 0, claimedAt: 1 }, model === undefined ? {} : { model })],
      1
    ),
    ([pause]) => pause
  )

const json = Schema.parseJson(LearnedCadence.Snapshot)

describe("cadence", () => {
  for (const workload of Object.values(PolicySimulation.workloads)) {
    it.effect(`beats the default for ${workload.name} jobs, with fewer polls`, () =>
      Effect.gen(function*() {
        const service = yield* LearnedCadence.make()
        yield* train(service, workload, 500, "training")
        const learned = yield* simulate(service.cadence, workload)
        const plain = yield* simulate(Cadence.defaultCadence, workload)
        assert.isAtMost(learned.pollsPerJob, 0.8 * plain.pollsPerJob)
        assert(Duration.lessThanOrEqualTo(learned.meanStaleness, plain.meanStaleness))
      }))
  }

  it.effect("trades polls for staleness by `pollCost`", () =>
    Effect.gen(function*() {
      const workload = PolicySimulation.workloads.lognormal
      const results = yield* Effect.forEach(["50 millis", "200 millis", "800 millis"] as const, (pollCost) =>
        Effect.gen(function*() {
          const service = yield* LearnedCadence.make({ pollCost })
          yield* train(service, workload, 300, "training")
          return yield* simulate(service.cadence, workload)
        }))
      const [dear, usual, cheap] = results
      assert(dear!.pollsPerJob > usual!.pollsPerJob && usual!.pollsPerJob > cheap!.pollsPerJob)
      assert(Duration.lessThan(dear!.meanStaleness, usual!.meanStaleness))
      assert(Duration.lessThan(usual!.meanStaleness, cheap!.meanStaleness))
    }))

  it.effect("is the fallback until `minSamples` jobs of the model were observed", () =>
    Effect.gen(function*() {
      const service = yield* LearnedCadence.make({ fallback: Schedule.spaced("777 millis"), minSamples: 5 })
      for (let i = 0; i < 4; i++) yield* service.observe(done(1, 10))
      assert.strictEqual(yield* pauseOf(service), 0.777)
      yield* service.observe(done(1, 10))
      assert.notStrictEqual(yield* pauseOf(service), 0.777)
      assert.strictEqual(yield* pauseOf(service, "another"), 0.777)
      const other = yield* LearnedCadence.make()
      const [plain] = yield* pauses(Cadence.defaultCadence, [snapshot("Running", {})], 1)
      assert.strictEqual(yield* pauseOf(other), plain)
    }))

  it.effect("keeps the state of the fallback while nothing is known", () =>
    Effect.gen(function*() {
      const fallback = Cadence.exponential({ base: "1 second", factor: 2, cap: "1 minute" })
      const service = yield* LearnedCadence.make({ fallback })
      const statuses = Array(6).fill(snapshot("Running", {}))
      assert.deepStrictEqual(yield* pauses(service.cadence, statuses, 7), yield* pauses(fallback, statuses, 7))
    }))

  it.effect("begins the fallback anew for a job whose model was forgotten", () =>
    Effect.gen(function*() {
      const service = yield* LearnedCadence.make({ models: 1, minSamples: 1 })
      yield* service.observe(done(1, 10))
      const status = snapshot("Running", { createdAt: 0, claimedAt: 1 })
      const [state] = yield* service.cadence.step(epoch, status, service.cadence.initial)
      yield* service.observe(done(1, 10, { model: "another" }))
      const [, , decision] = yield* service.cadence.step(epoch + 500, status, state)
      assert(ScheduleDecision.isContinue(decision))
      assert.closeTo(ScheduleIntervals.start(decision.intervals) - epoch, 1_000, 101)
    }))

  it.effect("counts from its first poll for a job whose times are not reported", () =>
    Effect.gen(function*() {
      const service = yield* LearnedCadence.make({ minSamples: 1 })
      for (let i = 0; i < 10; i++) yield* service.observe(done(1, 10))
      const pausesOf = (times: { readonly claimedAt?: number }) =>
        pauses(service.cadence, Array.from({ length: 10 }, () => snapshot("Running", times)), 1)
      assert.deepStrictEqual(yield* pausesOf({}), yield* pausesOf({ claimedAt: 0 }))
    }))

  it.effect("expects a job that has waited longer than all before it to be claimed now", () =>
    Effect.gen(function*() {
      const service = yield* LearnedCadence.make({ minSamples: 1 })
      for (let i = 0; i < 10; i++) yield* service.observe(done(1, 10))
      const waiting = yield* pauses(service.cadence, [snapshot("Pending", { createdAt: -3_600 })], 1)
      assert.deepStrictEqual(waiting, yield* pauses(service.cadence, [snapshot("Running", { claimedAt: 0 })], 1))
    }))

  it.effect("knows a model after `minSamples` jobs, for any half-life", () =>
    Effect.gen(function*() {
      for (const halfLife of [1, 3, 1_000, Infinity, NaN, 0, -1]) {
        const fallback = Schedule.spaced("777 millis")
        const options = { halfLife, minSamples: 100, fallback }
        const service = yield* LearnedCadence.make(options)
        for (let i = 0; i < 99; i++) yield* service.observe(done(1, 10))
        assert.strictEqual(yield* pauseOf(service), 0.777, `${halfLife}`)
        const restored = yield* LearnedCadence.make({ ...options, snapshot: yield* service.snapshot })
        assert.strictEqual(yield* pauseOf(restored), 0.777, `${halfLife}`)
        for (const known of [service, restored]) {
          yield* known.observe(done(1, 10))
          assert.notStrictEqual(yield* pauseOf(known), 0.777, `${halfLife}`)
        }
        const never = yield* LearnedCadence.make({
          ...options,
          minSamples: Infinity,
          snapshot: yield* service.snapshot
        })
        assert.strictEqual(yield* pauseOf(never), 0.777, `${halfLife}`)
      }
    }))

  it.effect("forgets old jobs", () =>
    Effect.gen(function*() {
      const service = yield* LearnedCadence.make({ halfLife: 10 })
      const running = snapshot("Running", { createdAt: 0, claimedAt: 0 })
      const median = Effect.map(
        service.eta(running),
        Option.match({
          onNone: () => NaN,
          onSome: ({ left }) => Duration.toSeconds(left)
        })
      )
      yield* TestClock.setTime(epoch)
      for (let i = 0; i < 100; i++) yield* service.observe(done(1, 100))
      assert.approximately(yield* median, 100, 10)
      for (let i = 0; i < 20; i++) yield* service.observe(done(1, 10))
      assert.approximately(yield* median, 10, 2)
    }))

  it.effect.prop("pauses between floor and cap, for any jobs and snapshots", [
    FastCheck.array(FastCheck.tuple(FastCheck.nat(100), FastCheck.nat(1_000)), { minLength: 1, maxLength: 20 }),
    FastCheck.array(
      FastCheck.tuple(
        FastCheck.constantFrom("Pending" as const, "Running" as const),
        FastCheck.integer(),
        FastCheck.nat(3)
      ),
      { maxLength: 5 }
    ),
    FastCheck.integer()
  ], ([known, reported, seed]) =>
    Effect.gen(function*() {
      const service = yield* LearnedCadence.make({ floor: "5 seconds", cap: "7 seconds", minSamples: 1 })
      yield* Effect.forEach(known, ([wait, run]) => service.observe(done(wait, run)))
      const statuses = reported.map(([tag, time, retries]) =>
        snapshot(tag, { createdAt: time / 1_000, claimedAt: time / 1_000 }, { retries })
      )
      for (const pause of yield* pauses(service.cadence, statuses, seed)) {
        assert.isAtLeast(pause, 5 - 1e-3)
        assert.isAtMost(pause, 7 + 1e-3)
      }
    }))

  it.effect("accepts any options", () =>
    Effect.gen(function*() {
      for (const floor of [0, -1, NaN, Infinity]) {
        for (const pollCost of [0, -1, NaN, Infinity]) {
          const service = yield* LearnedCadence.make({
            floor,
            pollCost,
            cap: "3 seconds",
            models: NaN,
            minSamples: NaN
          })
          for (let i = 0; i < 10; i++) yield* service.observe(done(1, 10))
          const status = snapshot("Running", {})
          for (const pause of yield* pauses(service.cadence, [status, status], 1)) {
            assert.isAtLeast(pause, 0.05 - 1e-3)
            assert.isAtMost(pause, 3 + 1e-3)
          }
        }
      }
    }))
})

describe("observe", () => {
  const learnedFrom = (...statuses: ReadonlyArray<Job.JobStatus>) =>
    Effect.gen(function*() {
      const service = yield* LearnedCadence.make()
      yield* Effect.forEach(statuses, service.observe)
      const { models } = yield* service.snapshot
      return models.map(({ run, wait }) => ({ wait: wait.length, run: run.length }))
    })

  it.effect("learns from jobs that are done or have failed", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* learnedFrom(done(1, 10)), [{ wait: 1, run: 1 }])
      const failed = snapshot("Failed", { createdAt: 0, claimedAt: 1, doneAt: 2 })
      assert.deepStrictEqual(yield* learnedFrom(failed), [{ wait: 1, run: 1 }])
      for (const tag of ["Pending", "Running", "Canceled"] as const) {
        assert.deepStrictEqual(yield* learnedFrom(snapshot(tag, { createdAt: 0, claimedAt: 1, doneAt: 2 })), [])
      }
    }))

  it.effect("learns no wait from a job that was retried: its first claim is not reported", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* learnedFrom(done(1, 10, { retries: 0 })), [{ wait: 1, run: 1 }])
      assert.deepStrictEqual(yield* learnedFrom(done(1, 10, { retries: 1 })), [{ wait: 0, run: 1 }])
    }))

  it.effect("ignores times that are missing, negative or absurd", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* learnedFrom(snapshot("Done", {})), [])
      assert.deepStrictEqual(yield* learnedFrom(snapshot("Done", { createdAt: 0, doneAt: 5 })), [])
      assert.deepStrictEqual(yield* learnedFrom(done(-1, -1)), [])
      assert.deepStrictEqual(yield* learnedFrom(done(-1, 1)), [{ wait: 0, run: 1 }])
      assert.deepStrictEqual(yield* learnedFrom(done(1e9, 1e9)), [])
      assert.deepStrictEqual(yield* learnedFrom(done(0, 0)), [{ wait: 1, run: 1 }])
    }))
})

describe("eta", () => {
  const trained = Effect.tap(
    LearnedCadence.make({ halfLife: Infinity }),
    (service) => Effect.forEach([...Array(100).keys()], (i) => service.observe(done(10, i < 60 ? 20 : 60)))
  )

  const etaAt = (seconds: number, status: Job.JobStatus) =>
    Effect.gen(function*() {
      yield* TestClock.setTime(epoch + 1_000 * seconds)
      const service = yield* trained
      return Option.getOrUndefined(Option.map(yield* service.eta(status), ({ interval, left, queue, run }) => ({
        left: Duration.toSeconds(left),
        queue: Duration.toSeconds(queue),
        run: Duration.toSeconds(run),
        high: Option.getOrUndefined(Option.map(interval, ({ high }) => Duration.toSeconds(high)))
      })))
    })

  it.effect("is the remaining time, given the elapsed time", () =>
    Effect.gen(function*() {
      const running = snapshot("Running", { createdAt: 0, claimedAt: 10 })
      const early = yield* etaAt(10, running)
      assert.approximately(early!.left, 20, 4)
      assert.approximately(early!.high!, 60, 6)
      // it is not one of the short jobs
      const later = yield* etaAt(50, running)
      assert.approximately(later!.left, 20, 6)
      // longer than every observed job
      assert.isUndefined(yield* etaAt(200, running))
    }))

  it.effect("adds the wait and the run of a pending job", () =>
    Effect.gen(function*() {
      const fresh = yield* etaAt(0, snapshot("Pending", { createdAt: 0 }))
      assert.approximately(fresh!.left, 30, 4)
      assert.approximately(fresh!.high!, 70, 7)
      assert.approximately(fresh!.queue, 10, 1)
      assert.approximately(fresh!.run, 35, 18)
      // longer than every observed wait
      assert.isUndefined(yield* etaAt(1_000, snapshot("Pending", { createdAt: 0 })))
      // requeued at an unknown time: as if it were new
      assert.approximately((yield* etaAt(1_000, snapshot("Pending", { createdAt: 0 }, { retries: 1 })))!.high!, 70, 7)
    }))

  it.effect("is undefined for jobs that have ended, and for unknown models", () =>
    Effect.gen(function*() {
      assert.isUndefined(yield* etaAt(0, done(1, 10)))
      assert.isUndefined(yield* etaAt(0, snapshot("Canceled", { createdAt: 0 })))
      assert.isUndefined(yield* etaAt(0, snapshot("Pending", { createdAt: 0 }, { model: "another" })))
    }))

  it.effect("contains eight of ten jobs in its interval, new, claimed or running, for every workload", () =>
    Effect.forEach(Object.values(PolicySimulation.workloads), ({ job, name }) =>
      Effect.gen(function*() {
        const next = Effect.map(job, ({ run, wait }) => [Duration.toSeconds(wait), Duration.toSeconds(run)] as const)
        let estimates = 0
        let held = 0
        // a single service may have learned from unusual jobs
        for (let i = 0; i < runs(12, 24); i++) {
          const service = yield* LearnedCadence.make()
          yield* Effect.replicateEffect(
            Effect.flatMap(next, ([wait, run]) => service.observe(done(wait, run))),
            200,
            { discard: true }
          )
          for (let i = 0; i < 120; i++) {
            const [wait, run] = yield* next
            for (const time of [0, 2, wait, wait + 5, wait + 20]) {
              const left = wait + run - time
              if (left <= 0) continue
              const status = time < wait
                ? snapshot("Pending", { createdAt: 0 })
                : snapshot("Running", { createdAt: 0, claimedAt: wait })
              const eta = yield* service.eta(status, DateTime.unsafeMake(epoch + 1_000 * time))
              for (const { high, low } of Option.toArray(Option.flatMap(eta, ({ interval }) => interval))) {
                estimates++
                if (left >= Duration.toSeconds(low) && left <= Duration.toSeconds(high)) held++
              }
            }
          }
        }
        assert.isAtLeast(held / estimates, 0.75, name)
        assert.isAtMost(held / estimates, 0.85, name)
      }).pipe(Effect.withRandom(Random.make(`interval ${name}`)))))

  it.effect("comes from the progress, without an interval, while the model is not known", () =>
    Effect.gen(function*() {
      const running = {
        ...snapshot("Running", { createdAt: 0, claimedAt: 10 }, { model: "another" }),
        info: { progress: 0.25 }
      }
      assert.deepStrictEqual(yield* etaAt(30, running), { left: 60, queue: 0, run: 60, high: undefined })
      assert.isUndefined(yield* etaAt(10, running))
      assert.isUndefined(yield* etaAt(30, { ...running, info: { progress: -1 } }))
      // too little progress: the time would be longer than any duration
      assert.isUndefined(yield* etaAt(30, { ...running, info: { progress: Number.MIN_VALUE } }))
      assert.isUndefined(yield* etaAt(30, { ...running, info: { progress: 1e-300 } }))
    }))

  it.effect.prop("is the same by the local clock, however far the server's is ahead", [
    FastCheck.integer({ min: -10_000_000, max: 10_000_000 }),
    FastCheck.constantFrom("Pending" as const, "Running" as const),
    FastCheck.nat(60)
  ], ([ahead, tag, age]) =>
    Effect.gen(function*() {
      yield* TestClock.setTime(epoch)
      const { eta } = yield* trained
      const end = (ahead: number) => {
        const since = ahead / 1_000 - age
        const status = snapshot(tag, { createdAt: since, claimedAt: since })
        return Effect.map(LearnedCadence.expectedEnd(eta, status, ahead), Option.getOrUndefined)
      }
      const expected = yield* end(0)
      if (expected === undefined) assert.isAbove(age, tag === "Pending" ? 10 : 60)
      else assert.isAbove(expected, epoch)
      assert.strictEqual(yield* end(ahead), yield* end(0))
    }))

  it.effect.prop(
    "is never in the past, and absent without an earlier job that ran as long or a progress that may go on",
    [
      FastCheck.array(FastCheck.integer({ min: 1, max: 1_000 }), { maxLength: 30 }),
      FastCheck.tuple(FastCheck.nat(4_000), FastCheck.nat(4_000)),
      FastCheck.constantFrom(0, 0.01, 0.5, 0.99, 1)
    ],
    ([runs, [seenAfter, quiet], progress]) =>
      Effect.gen(function*() {
        const { eta, observe } = yield* LearnedCadence.make()
        yield* Effect.forEach(runs, (run) => observe(done(1, run)))
        const age = seenAfter + quiet
        const status = { ...snapshot("Running", { createdAt: 0, claimedAt: 0 }), info: { progress } }
        const time = (seconds: number) => DateTime.unsafeMake(epoch + 1_000 * seconds)
        const found = Option.getOrUndefined(yield* eta(status, time(age), time(seenAfter)))
        const byProgress = progress > 0 && seenAfter > 0 ? seenAfter * (1 - progress) / progress - quiet : -1
        const longer = runs.filter((run) => run > age).length
        const interval = found && Option.getOrUndefined(found.interval)
        if (interval !== undefined) {
          assert.isAbove(1.6 * Math.max(...runs), age)
          assert(Duration.lessThanOrEqualTo(interval.low, found!.left))
          assert(Duration.lessThanOrEqualTo(found!.left, interval.high))
          assert.isAtLeast(Duration.toMillis(interval.low), 0)
          return
        }
        assert.isBelow(runs.length < 10 ? 0 : longer, 2)
        if (byProgress < 0) assert.isUndefined(found)
        else assert.approximately(Duration.toSeconds(found!.left), byProgress, 0.01)
      })
  )

  it.effect("counts from when the job was first seen as it is, where no time is reported", () =>
    Effect.gen(function*() {
      const { eta } = yield* trained
      const left = (status: Job.JobStatus, seconds: number) =>
        Effect.map(
          eta(status, DateTime.unsafeMake(epoch + 1_000 * seconds), DateTime.unsafeMake(epoch)),
          Option.map(({ left }) => Duration.toSeconds(left))
        )
      const running = snapshot("Running", {})
      assert.approximately(Option.getOrThrow(yield* left(running, 50)), 10, 3)
      assert.isTrue(Option.isNone(yield* left(running, 200)))
      assert.isTrue(Option.isNone(yield* left(snapshot("Pending", {}, { retries: 1 }), 200)))
    }))

  it.effect("takes a claim that is ahead of the local clock for a claim now", () =>
    Effect.gen(function*() {
      const ahead = yield* etaAt(0, snapshot("Running", { createdAt: 500, claimedAt: 500 }))
      assert.approximately(ahead!.left, 20, 4)
    }))
})

describe("memory", () => {
  const observations = FastCheck.array(
    FastCheck.tuple(
      FastCheck.constantFrom("a", "b", "c"),
      FastCheck.double({ min: 0, max: 1e5, noNaN: true }),
      FastCheck.double({ min: 0, max: 1e5, noNaN: true })
    )
  )

  it.effect.prop("is the same when it is saved and loaded", [observations], ([jobs]) =>
    Effect.gen(function*() {
      const service = yield* LearnedCadence.make({ halfLife: 7 })
      yield* Effect.forEach(jobs, ([model, wait, run]) => service.observe(done(wait, run, { model })))
      const saved = yield* service.snapshot
      const text = yield* Schema.encode(json)(saved)
      const again = yield* LearnedCadence.make({ snapshot: yield* Schema.decode(json)(text) })
      assert.deepStrictEqual(yield* again.snapshot, saved)
    }))

  it.effect("is bounded in its models, and in each of them", () =>
    Effect.gen(function*() {
      const service = yield* LearnedCadence.make({ models: 3 })
      for (const model of ["a", "b", "c", "a", "d"]) yield* service.observe(done(1, 10, { model }))
      const names = Effect.map(service.snapshot, ({ models }) => models.map(({ model }) => model))
      assert.deepStrictEqual(yield* names, ["c", "a", "d"])
      // a request for a cadence is a use of its model
      yield* pauseOf(service, "c")
      yield* pauseOf(service, "unknown")
      yield* service.observe(done(1, 10, { model: "e" }))
      assert.deepStrictEqual(yield* names, ["d", "c", "e"])

      for (let i = 0; i < 5_000; i++) yield* service.observe(done(1.01 ** (i % 1_200), 1.01 ** (i % 1_300)))
      const { models } = yield* service.snapshot
      assert.isBelow((yield* Schema.encode(json)({ version: 1, models: models.slice(-1) })).length, 12_000)
      for (const { run } of models) assert.isBelow(run.reduce((sum, [, weight]) => sum + weight, 0), 300)
    }))

  it.effect("loads no more models than the option allows", () =>
    Effect.gen(function*() {
      const models = ["a", "b", "c"].map((model) => ({ model, jobs: 1, wait: [], run: [[3, 1]] as const }))
      const service = yield* LearnedCadence.make({ models: 2, snapshot: { version: 1, models } })
      assert.deepStrictEqual((yield* service.snapshot).models.map(({ model }) => model), ["b", "c"])
    }))

  it("does not decode an invalid snapshot", () => {
    const decode = Schema.decodeUnknownOption(LearnedCadence.Snapshot)
    const memory = (...weight: ReadonlyArray<unknown>) => ({
      version: 1,
      models: [{ model: "a", jobs: 1, wait: [], run: [weight] }]
    })
    assert(Option.isSome(decode(memory(3, 1.5))))
    for (const weight of [[-1, 1], [192, 1], [1.5, 1], [3, -1], [3, 0], [3, NaN], [3, Infinity], [3], ["3", 1]]) {
      assert(Option.isNone(decode(memory(...weight))), `${weight}`)
    }
    assert(Option.isNone(decode({ version: 2, models: [] })))
  })
})

describe("layer", () => {
  const model = "my-org/video-generator"
  const workers: Worker.Pool = { workers: 30, script: Worker.always(Worker.finish("1 minute")) }
  const submit = JobQueue.submit({ model, payload: {} })
  // the watcher is built where the memory is provided
  const Learning = JobWatcher.layer().pipe(
    Layer.provideMerge(LearnedCadence.layer({ minSamples: 3 })),
    Layer.provideMerge(TestJobQueue.layer({ workers }))
  )

  it.effect("makes every watch use the learned cadence, without a change in the program", () =>
    Effect.gen(function*() {
      const polls = (job: Job.JobRef) =>
        Effect.map(
          TestJobQueue.calls,
          (calls) =>
            calls.filter(({ operation, requestId }) => operation === "status" && requestId === job.requestId).length
        )
      const first = yield* submit
      yield* JobStream.result(first)
      // watched twice, learned once
      const jobs = yield* Effect.replicateEffect(submit, 2)
      yield* Effect.forEach([...jobs, ...jobs], (job) => JobStream.result(job), { concurrency: "unbounded" })
      const last = yield* submit
      const status = yield* JobQueue.status(last)
      const eta = Option.getOrThrow(yield* LearnedCadence.eta(status))
      assert.approximately(Duration.toSeconds(eta.left), 60, 6)
      yield* JobStream.result(last)
      assert.isBelow(yield* polls(last), yield* polls(first))
      const { models } = yield* LearnedCadence.snapshot
      assert.deepStrictEqual(
        models.map(({ model, run }) => [model, Math.round(run.reduce((sum, [, w]) => sum + w, 0))]),
        [
          [model, 4]
        ]
      )
    }).pipe(VirtualTime.run, Effect.provide(Learning)))
})
