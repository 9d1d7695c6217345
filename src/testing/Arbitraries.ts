/**
 * Arbitraries for property tests of programs: scripts and pools of workers, and faults. They shrink, and print in words.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as FastCheck from "effect/FastCheck"
import type { JsonObject } from "../model/Job.js"
import type * as Fault from "./Fault.js"
import * as Internal from "./internal/arbitraries.js"
import * as Worker from "./Worker.js"

const { either, millis, printed } = Internal

// -----------------------------------------------------------------------------
// workers
// -----------------------------------------------------------------------------

const pause = either(
  [3, FastCheck.constantFrom(0, 1, 1_000, 2_000, 5_000).map(Duration.millis)],
  [2, millis(5_000)],
  [1, millis(20_000)]
)

const maybeLate = (step: FastCheck.Arbitrary<Worker.Step>): FastCheck.Arbitrary<Worker.Step> =>
  FastCheck.tuple(step, FastCheck.nat({ max: 9 })).map(([step, n]) => n === 9 ? Worker.late(step) : step)

const progress = FastCheck.constantFrom(0, 0.25, 0.5, 0.75, 1)

// `info` or outputs; now and then more keys than a cursor keeps one by one
const json: FastCheck.Arbitrary<JsonObject> = either<JsonObject>(
  [
    15,
    FastCheck.dictionary(
      FastCheck.constantFrom("progress", "error", "note", "__proto__"),
      FastCheck.jsonValue({ maxDepth: 1 }),
      { maxKeys: 3, noNullPrototype: true }
    )
  ],
  [1, FastCheck.constant(Object.fromEntries(Array.from({ length: 33 }, (_, i) => [`key-${i}`, i])))]
)

const heartbeat = maybeLate(either(
  [1, pause.map((after) => Worker.heartbeat(after))],
  [3, FastCheck.tuple(pause, progress).map(([after, fraction]) => Worker.progress(after, fraction))],
  [1, FastCheck.tuple(pause, json).map(([after, info]) => Worker.heartbeat(after, info))]
))

const reason = FastCheck.constantFrom("out of memory", "größe 🦊")

const end = either(
  [6, maybeLate(FastCheck.tuple(pause, json).map(([after, outputs]) => Worker.finish(after, outputs)))],
  [2, maybeLate(FastCheck.tuple(pause, reason).map(([after, reason]) => Worker.fail(after, reason)))],
  [1, FastCheck.constant(Worker.stopResponding)]
)

const attempt: FastCheck.Arbitrary<ReadonlyArray<Worker.Step>> = FastCheck.tuple(
  FastCheck.array(heartbeat, { maxLength: 3 }),
  end
).map(([heartbeats, end]) => [...heartbeats, end])

const printInfo = (info: JsonObject): string => {
  const count = Object.keys(info).length
  return count === 0 ? "" : count > 8 ? ` { ${count} entries }` : ` ${JSON.stringify(info)}`
}

const words = { running: "heartbeat", done: "finish", failed: "fail" }

const printStep = ({ after, late, report }: Worker.Step): string =>
  report === undefined
    ? "die"
    : `${words[report.status]}${printInfo(report.outputs ?? report.info ?? {})} after ${
      typeof after === "function" ? "some time" : Duration.format(after)
    }${late ? ", late" : ""}`

/**
 * Generates scripts of workers, the same for every job, with up to four different attempts. Each attempt has up to three
 * heartbeats, most with progress, and then finishes, fails or dies; some steps are late. No pause is longer than 20
 * seconds.
 *
 * @since 0.1.0
 * @category workers
 */
export const script: FastCheck.Arbitrary<Worker.Script> = FastCheck.array(attempt, { minLength: 1, maxLength: 4 }).map(
  (backwards) => {
    // fast-check shortens an array from its beginning; a later attempt can be left out, an earlier one leads to it
    const attempts = backwards.slice().reverse()
    return printed(
      Worker.attempts(...attempts),
      () => `attempts(${attempts.map((steps) => `[${steps.map(printStep).join("; ")}]`).join(", ")})`
    )
  }
)

/**
 * Generates pools of one to three workers with any `script`, claims of 5 to 30 seconds, and a pickup of up to 3 seconds.
 *
 * Every job ends: a single job within 8 minutes after its submission, the last of several within 8 minutes for each.
 *
 * @example
 * import { JobQueue, JobStream } from "effect-queue-status"
 * import { Arbitraries, TestJobQueue, VirtualTime } from "effect-queue-status/testing"
 * import { Effect, FastCheck, Stream, TestContext } from "effect"
 *
 * const test = Effect.gen(function*() {
 *   const job = yield* JobQueue.submit({ model: "my-org/adder", payload: { a: 1, b: 2 } })
 *   const seen = yield* Stream.runCollect(JobStream.transitions(job))
 *   yield* TestJobQueue.expectMatchesHistory(job, seen)
 * })
 *
 * // a watch reports what happened, whatever the workers do: for `FastCheck.assert`
 * const property = FastCheck.asyncProperty(Arbitraries.pool, (workers) =>
 *   VirtualTime.run(test).pipe(
 *     Effect.provide(TestJobQueue.layer({ workers })),
 *     Effect.provide(TestContext.TestContext),
 *     Effect.runPromise
 *   ))
 *
 * @since 0.1.0
 * @category workers
 */
export const pool: FastCheck.Arbitrary<Worker.Pool> = FastCheck.record({
  script,
  workers: FastCheck.integer({ min: 1, max: 3 }),
  claimTimeout: either(
    [1, FastCheck.constantFrom(10_000, 30_000, 5_000)],
    [1, FastCheck.integer({ min: 5_000, max: 30_000 })]
  ).map(Duration.millis),
  pickup: either([1, FastCheck.constant(Duration.zero)], [1, millis(3_000)])
}).map(({ claimTimeout, pickup, script, workers }) =>
  printed<Worker.Pool>(
    { script, workers, claimTimeout, pickup },
    () =>
      `{ workers: ${workers}, claimTimeout: ${Duration.format(claimTimeout)}, pickup: ${Duration.format(pickup)}, ` +
      `script: ${FastCheck.stringify(script)} }`
  )
)

// -----------------------------------------------------------------------------
// faults
// -----------------------------------------------------------------------------

/**
 * Generates up to four faults, each of any kind and with up to three conditions, in any order. Many of them never end.
 *
 * Not generated are `Fault.blockedUntil`, `Fault.where`, `Fault.ofJob` and `Fault.ofModel`, whose arguments only a test knows.
 *
 * @since 0.1.0
 * @category faults
 */
export const faults: FastCheck.Arbitrary<ReadonlyArray<Fault.Fault>> = Internal.faults
