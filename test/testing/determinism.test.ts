import { assert, describe, it } from "@effect/vitest"
import { deepStrictEqual } from "@effect/vitest/utils"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as TestClock from "effect/TestClock"
import { execFile } from "node:child_process"
import { createHash } from "node:crypto"
import { join } from "node:path"
import { inject } from "vitest"
import { JobQueue } from "../../src/index.js"
import { Fault, TestJobQueue, Worker } from "../../src/testing/index.js"
import { runs } from "../fixtures/runs.js"
import * as Scenario from "../fixtures/scenario.js"

// a seed with many events: lost workers, a failed job, a canceled job, and six outcomes of calls
const seed = "seed 117"

/** The hash of the log for that seed, on every machine and every version of Node. */
const sha256 = "ab900bef97c3c207697912208367cac404bd7eb854953e2668d7009ada148ae5"

const hash = (log: string) => createHash("sha256").update(log).digest("hex")

describe("determinism", () => {
  it.effect("the scenario contains the expected events", () =>
    Effect.gen(function*() {
      const log = yield* Scenario.runAtMidnight(seed)
      for (
        const what of [
          "Requeued",
          "Completed",
          "FailedByModel",
          "Canceled",
          "Progressed",
          "inferred",
          "\"outcome\":\"ResponseTimeout\"",
          "\"outcome\":\"answered\""
        ]
      ) assert.include(log, what)
      assert.strictEqual(new Set(log.match(/"outcome":"\w+"/g)).size, 6)
    }))

  it.effect("the same seed gives the same log, byte for byte, on every run", () =>
    Effect.gen(function*() {
      const logs = new Set<string>()
      for (let i = 0; i < runs(6, 80); i++) logs.add(yield* Scenario.runAtMidnight(seed))
      assert.strictEqual(logs.size, 1)
      assert.strictEqual(hash(Array.from(logs)[0]!), sha256)
    }))

  it.live("the same seed gives the same log in another process", () =>
    Effect.gen(function*() {
      const log = yield* Effect.async<string>((resume) => {
        const child = execFile(
          process.execPath,
          [join(inject("programs"), "test/fixtures/scenario.js"), seed],
          { maxBuffer: 10_000_000 },
          (error, stdout, stderr) => resume(error === null ? Effect.succeed(stdout) : Effect.die(`${error}\n${stderr}`))
        )
        return Effect.sync(() => child.kill("SIGKILL"))
      })
      assert.strictEqual(log, yield* Scenario.runAtMidnight(seed))
      assert.strictEqual(hash(log), sha256)
    }))

  it.effect("the same seed gives the same log under any clock with the same start time", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(Date.UTC(2026, 1, 7))
      assert.strictEqual(yield* Scenario.run(seed), yield* Scenario.runAtMidnight(seed))
    }))

  it.effect("concurrent runs do not affect each other", () =>
    Effect.gen(function*() {
      const seeds = [seed, "s1", seed, "s2", "s3"]
      const apart = yield* Effect.forEach(seeds, Scenario.runAtMidnight)
      const together = yield* Effect.forEach(seeds, Scenario.runAtMidnight, { concurrency: "unbounded" })
      assert.deepStrictEqual(together, apart)
    }))

  it.effect("another seed gives another log", () =>
    Effect.gen(function*() {
      const seeds = [seed, "s16", "", 0, 1, "1 "]
      const logs = yield* Effect.forEach(seeds, Scenario.runAtMidnight)
      assert.strictEqual(new Set(logs).size, seeds.length)
    }))
})

describe("isolation", () => {
  const model = "my-org/video-generator"

  const options: TestJobQueue.Options = {
    workers: { script: Worker.always(Worker.finish("10 seconds")) },
    faults: [
      Fault.rateLimited().pipe(Fault.on("metrics"), Fault.nth(2)),
      Fault.unauthorized.pipe(Fault.on("clear"), Fault.withProbability(0.5))
    ]
  }

  /** The results of a program on a fresh queue. */
  const use = Effect.gen(function*() {
    const { calls, counts, jobs, transitions } = TestJobQueue
    const job = yield* JobQueue.submit({ model, payload: {} })
    const tagOf = Either.match({ onLeft: (error: { readonly _tag: string }) => error._tag, onRight: () => "answered" })
    const metrics = yield* Effect.replicateEffect(Effect.map(Effect.either(JobQueue.metrics(model)), tagOf), 3)
    const clears = yield* Effect.replicateEffect(Effect.map(Effect.either(JobQueue.clear("x")), tagOf), 20)
    return {
      job,
      jobs: yield* jobs,
      metrics,
      clears,
      counts: yield* counts,
      calls: yield* calls,
      life: (yield* transitions(job)).map(({ _tag }) => _tag),
      chance: yield* Random.nextIntBetween(0, 1_000_000)
    }
  })

  const assertUntouched = (found: Effect.Effect.Success<typeof use>) => {
    assert.deepStrictEqual(found.metrics, ["answered", "RateLimited", "answered"])
    assert.deepStrictEqual(new Set(found.clears), new Set(["answered", "AccessDenied"]))
    assert.deepStrictEqual(found.life, ["Queued", "Claimed"])
    deepStrictEqual(found.counts, { status: 0, submit: 1, cancel: 0, clear: 20, metrics: 3 })
    assert.lengthOf(found.calls, 24)
    deepStrictEqual(found.jobs, [found.job])
  }

  // one layer value, as a test file would share it
  const layer = TestJobQueue.layer(options)

  let first: Effect.Effect.Success<typeof use>

  it.effect("one layer provided in one test", () =>
    Effect.gen(function*() {
      first = yield* use
      assertUntouched(first)
    }).pipe(Effect.provide(layer)))

  it.effect("the same layer provided in another test starts fresh", () =>
    Effect.gen(function*() {
      deepStrictEqual(yield* use, first)
    }).pipe(Effect.provide(layer)))

  it.effect("two layers side by side in one program share no state", () =>
    Effect.gen(function*() {
      const one = yield* Layer.build(TestJobQueue.layer({ ...options, seed: "one" }))
      const two = yield* Layer.build(TestJobQueue.layer({ ...options, seed: "two" }))
      const ofOne = yield* Effect.provide(use, one)
      const ofTwo = yield* Effect.provide(use, two)
      assertUntouched(ofOne)
      assertUntouched(ofTwo)
      assert.notStrictEqual(ofOne.job.requestId, ofTwo.job.requestId)
      assert.notDeepEqual(ofOne.clears, ofTwo.clears)
      // a job of one queue is unknown to the other
      const queue = Context.get(two, JobQueue.JobQueue)
      const answer = yield* Effect.flip(queue.status(ofOne.job))
      assert.strictEqual(answer._tag, "JobNotFound")
      // faults, workers and calls of one queue do not affect the other
      yield* Effect.asVoid(Effect.provide(TestJobQueue.inject(Fault.unauthorized), one))
      assert.strictEqual((yield* queue.metrics(model)).running, 1)
      assert.lengthOf(yield* Effect.provide(TestJobQueue.calls, one), 24)
      assert.lengthOf(yield* Effect.provide(TestJobQueue.calls, two), 26)
    }).pipe(Effect.scoped))

  it.effect("a layer nested in another shares no state with it", () =>
    Effect.gen(function*() {
      const outer = yield* use
      const inner = yield* Effect.provide(use, TestJobQueue.layer({ ...options, seed: "inner" }))
      assertUntouched(inner)
      assert.notStrictEqual(inner.job.requestId, outer.job.requestId)
      assert.notStrictEqual(inner.chance, outer.chance)
      assert.lengthOf(yield* TestJobQueue.calls, 24)
      deepStrictEqual(yield* TestJobQueue.jobs, [outer.job])
    }).pipe(Effect.provide(layer)))
})
