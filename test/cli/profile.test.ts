import { assert, describe, it } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { defaultProfile, toPool } from "../../src/cli/emulator/workerProfile.js"
import { JobQueue } from "../../src/index.js"
import type { Worker } from "../../src/testing/index.js"
import { TestJobQueue, VirtualTime } from "../../src/testing/index.js"
import { runs } from "../fixtures/runs.js"

const count = runs(300, 600)

/** The transitions of `count` jobs of a profile. */
const histories = (profile: Partial<typeof defaultProfile>, seed = "profile") =>
  Effect.gen(function*() {
    for (let i = 0; i < count; i++) yield* JobQueue.submit({ model: "m", payload: { i } })
    yield* Effect.sleep("30 days")
    return yield* Effect.forEach(yield* TestJobQueue.jobs, TestJobQueue.transitions)
  }).pipe(
    VirtualTime.run,
    Effect.provide(TestJobQueue.layer({ seed, workers: toPool({ ...defaultProfile, workers: count, ...profile }) }))
  )

const part = <A>(all: ReadonlyArray<A>, isSo: (a: A) => boolean): number => all.filter(isSo).length / all.length

describe("a profile", () => {
  it.effect("has its rates of failures and losses, and its median duration", () =>
    Effect.gen(function*() {
      const jobs = yield* histories({ failureRate: 0.2, lossRate: 0.1 })
      const steps = jobs.flat()
      const claims = steps.filter(({ _tag }) => _tag === "Claimed").length
      const lost = steps.filter(({ _tag }) => _tag === "Requeued" || _tag === "RetriesExhausted").length
      const failed = steps.filter(({ _tag }) => _tag === "FailedByModel").length
      // three standard deviations of a binomial distribution
      assert.approximately(lost / claims, 0.1, 3 * Math.sqrt(0.09 / claims))
      assert.approximately(failed / claims, 0.2, 3 * Math.sqrt(0.16 / claims))

      const times = jobs.flatMap((job) => {
        const end = job.at(-1)
        const claim = job.filter(({ _tag }) => _tag === "Claimed").at(-1)
        return end?._tag === "Completed" && claim !== undefined && Option.isSome(end.at) && Option.isSome(claim.at)
          ? [DateTime.distance(claim.at.value, end.at.value)]
          : []
      }).sort((a, b) => a - b)
      const median = times[Math.floor(times.length / 2)]!
      assert.approximately(median, Duration.toMillis(defaultProfile.duration), 1_500)
    }))

  it.effect("reports progress that only grows, and marks its outputs as simulated", () =>
    Effect.gen(function*() {
      const jobs = yield* histories({})
      for (const job of jobs) {
        let before = 0
        for (const step of job) {
          if (step._tag === "Claimed") before = 0
          if (step._tag !== "Progressed") continue
          const progress = Option.getOrThrow(step.progress)
          assert.isAbove(progress, before)
          assert.isBelow(progress, 1)
          before = progress
        }
        const end = job.at(-1)
        if (end?._tag === "Completed") {
          assert.deepStrictEqual(end.outputs, { simulated: true, inputs: end.snapshot.inputs })
        }
        if (end?._tag === "FailedByModel") assert.strictEqual(Option.getOrNull(end.reason), "simulated failure")
      }
      assert.isAbove(part(jobs, (job) => job.some(({ _tag }) => _tag === "Progressed")), 0.9)
    }))

  it.effect("is the same for the same seed, and differs for another seed", () =>
    Effect.gen(function*() {
      const outline = (seed: string) =>
        Effect.map(histories({}, seed), (jobs) => jobs.map((job) => job.map(({ _tag }) => _tag[0]).join("")).join())
      const first = yield* outline("a")
      assert.strictEqual(yield* outline("a"), first)
      assert.notStrictEqual(yield* outline("b"), first)
    }))

  it.effect("may have attempts that all fail, are all lost, or take no time", () =>
    Effect.gen(function*() {
      const failed = yield* histories({ failureRate: 1, lossRate: 0 })
      assert.strictEqual(part(failed, (job) => job.at(-1)?._tag === "FailedByModel"), 1)
      const lost = yield* histories({ failureRate: 1, lossRate: 1 })
      assert.strictEqual(part(lost, (job) => job.at(-1)?._tag === "RetriesExhausted"), 1)
      const quick = yield* histories({
        failureRate: 0,
        lossRate: 0,
        duration: Duration.millis(1),
        pickup: Duration.zero
      })
      assert.strictEqual(part(quick, (job) => job.at(-1)?._tag === "Completed"), 1)
    }))

  it("reports at most a thousand times in an attempt", () => {
    const { script } = toPool({ ...defaultProfile, progressEvery: Duration.millis(1), failureRate: 0, lossRate: 0 })
    const task: Worker.Task = { job: { model: "m", requestId: "1" }, nth: 1, attempt: 1, payload: {}, info: {} }
    assert.isAtMost(script(task, () => 0.5).length, 1_001)
  })

  it("uses only the given random source", () => {
    const { script } = toPool(defaultProfile)
    const task: Worker.Task = { job: { model: "m", requestId: "1" }, nth: 1, attempt: 1, payload: {}, info: {} }
    assert.deepStrictEqual(script(task, () => 0.5), script(task, () => 0.5))
  })
})
