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

// one in which much happens: workers are lost, one job fails, one is canceled, and calls end in six ways
const seed = "seed 117"

/** Of the log of that seed: on every machine, with every version of Node. */
const sha256 = "ab900bef97c3c207697912208367cac404bd7eb854953e2668d7009ada148ae5"

const hash = (log: string) => createHash("sha256").update(log).digest("hex")

describe("determinism", () => {
  it.effect("the scenario has what it is to have", () =>
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

  it.effect("the same seed gives the same log, to the byte, however often", () =>
    Effect.gen(function*() {
      const logs = new Set<string>()
      for (let i = 0; i < runs(6, 200); i++) logs.add(yield* Scenario.runAtMidnight(seed))
      assert.strictEqual(logs.size, 1)
      assert.strictEqual(hash(Array.from(logs)[0]!), sha256)
    }))

  it.live("also in another process", () =>
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

  it.effect("under any clock that stands where it stood", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(Date.UTC(2026, 1, 7))
      assert.strictEqual(yield* Scenario.run(seed), yield* Scenario.runAtMidnight(seed))
    }))

  it.effect("several at a time don't disturb each other", () =>
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

  /** What a program finds in a queue that nobody else has touched. */
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

  // one value, as a test file would share it
  const layer = TestJobQueue.layer(options)

  let first: Effect.Effect.Success<typeof use>

  it.effect("one layer, in one test", () =>
    Effect.gen(function*() {
      first = yield* use
      assertUntouched(first)
    }).pipe(Effect.provide(layer)))

  it.effect("and in another: as if there had been none before", () =>
    Effect.gen(function*() {
      deepStrictEqual(yield* use, first)
    }).pipe(Effect.provide(layer)))

  it.effect("two in one program, side by side", () =>
    Effect.gen(function*() {
      const one = yield* Layer.build(TestJobQueue.layer({ ...options, seed: "one" }))
      const two = yield* Layer.build(TestJobQueue.layer({ ...options, seed: "two" }))
      const ofOne = yield* Effect.provide(use, one)
      const ofTwo = yield* Effect.provide(use, two)
      assertUntouched(ofOne)
      assertUntouched(ofTwo)
      assert.notStrictEqual(ofOne.job.requestId, ofTwo.job.requestId)
      assert.notDeepEqual(ofOne.clears, ofTwo.clears)
      // what the one knows, the other does not
      const queue = Context.get(two, JobQueue.JobQueue)
      const answer = yield* Effect.flip(queue.status(ofOne.job))
      assert.strictEqual(answer._tag, "JobNotFound")
      // a fault, a worker and a call of the one are none of the other
      yield* Effect.asVoid(Effect.provide(TestJobQueue.inject(Fault.unauthorized), one))
      assert.strictEqual((yield* queue.metrics(model)).running, 1)
      assert.lengthOf(yield* Effect.provide(TestJobQueue.calls, one), 24)
      assert.lengthOf(yield* Effect.provide(TestJobQueue.calls, two), 26)
    }).pipe(Effect.scoped))

  it.effect("the one inside of the other", () =>
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
