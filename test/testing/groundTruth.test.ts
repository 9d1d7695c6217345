/**
 * Compares the history of the in-memory queue with the history of the worker simulation, and with the transitions of
 * watches.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import { Job, JobQueue, JobStream } from "../../src/index.js"
import type { Cadence, Transition } from "../../src/index.js"
import { TestJobQueue, VirtualTime, Worker } from "../../src/testing/index.js"
import * as Queue from "../../src/testing/internal/queueModel.js"
import * as Simulation from "../../src/testing/internal/workerSimulation.js"
import { inLetters, wholeLife } from "../fixtures/path.js"
import { runs } from "../fixtures/runs.js"

const models = ["my-org/video-generator", "__proto__"] as const

// -----------------------------------------------------------------------------
// arbitrary workers
// -----------------------------------------------------------------------------

const timing: FastCheck.Arbitrary<Worker.Timing> = FastCheck.oneof(
  FastCheck.nat(8_000),
  FastCheck.constantFrom<Array<Worker.Timing>>(
    0,
    0.4,
    5_000,
    Worker.uniform(0, "3 seconds"),
    Worker.exponential("2 seconds"),
    Worker.lognormal("2 seconds", 1)
  )
)

// without a failure reason: if the retries run out, it would be read as a failure by the model
const info = FastCheck.array(
  FastCheck.tuple(
    FastCheck.constantFrom("progress", "note", "__proto__"),
    FastCheck.constantFrom(0, 0.5, 1, "größe", null)
  ),
  { maxLength: 2 }
).map((entries): Job.JsonObject => Object.fromEntries(entries))

const heartbeat = FastCheck.tuple(timing, info).map(([after, info]) => Worker.heartbeat(after, info))

const ending = FastCheck.oneof(
  { weight: 3, arbitrary: timing.map((after) => Worker.finish(after, { answer: 42 })) },
  { weight: 1, arbitrary: timing.map((after) => Worker.fail(after, "out of memory")) },
  { weight: 3, arbitrary: FastCheck.constant(Worker.stopResponding) }
)

const steps = FastCheck.tuple(
  FastCheck.array(FastCheck.tuple(heartbeat, FastCheck.nat(5)), { maxLength: 3 }),
  FastCheck.tuple(ending, FastCheck.nat(3))
).map(([beats, last]) => [...beats, last].map(([step, n]): Worker.Step => n === 0 ? Worker.late(step) : step))

const script = FastCheck.oneof(
  FastCheck.array(steps, { minLength: 1, maxLength: 4 }).map((each) => Worker.attempts(...each)),
  FastCheck.array(FastCheck.tuple(FastCheck.integer({ min: 1, max: 3 }), steps), { minLength: 1, maxLength: 3 }).map(
    (choices) => Worker.weighted(...choices)
  )
)

const pool: FastCheck.Arbitrary<Worker.Pool> = FastCheck.record({
  script,
  workers: FastCheck.integer({ min: 1, max: 3 }),
  model: FastCheck.constantFrom(undefined, ...models),
  claimTimeout: FastCheck.constantFrom(1, 3_000, 20_000),
  pickup: FastCheck.constantFrom(0, 1, 700)
})

interface Plan {
  readonly seed: number
  readonly pools: ReadonlyArray<Worker.Pool>
  readonly jobs: ReadonlyArray<{
    readonly at: number
    readonly model: number
    readonly priority: number
    readonly info: Job.JsonObject
    readonly cancelAfter: number | undefined
  }>
}

const plan: FastCheck.Arbitrary<Plan> = FastCheck.record({
  seed: FastCheck.nat(),
  // the last pool completes every job
  pools: FastCheck.tuple(FastCheck.array(pool, { maxLength: 2 }), pool.map((pool) => ({ ...pool, model: undefined })))
    .map(
      ([pools, last]) => [...pools, last]
    ),
  jobs: FastCheck.array(
    FastCheck.record({
      // submitted at even milliseconds, canceled at odd ones: the order within one instant is not tested here
      at: FastCheck.oneof(FastCheck.constant(0), FastCheck.nat(5_000)).map((n) => 2 * n),
      model: FastCheck.nat(1),
      priority: FastCheck.integer({ min: -1, max: 1 }),
      info,
      cancelAfter: FastCheck.option(FastCheck.nat(5_000).map((n) => 2 * n + 1), { nil: undefined, freq: 4 })
    }),
    { minLength: 1, maxLength: 4 }
  ).map((jobs) => jobs.slice().sort((a, b) => a.at - b.at))
})

// -----------------------------------------------------------------------------
// the history
// -----------------------------------------------------------------------------

const start = 1_000_000

/** The history of the same jobs with the same workers and without polls: `Claimed 2 at 3000` for each step. */
const notes = ({ jobs, pools, seed }: Plan, refs: ReadonlyArray<Job.JobRef>): ReadonlyArray<ReadonlyArray<string>> => {
  let simulation = Simulation.make(pools, { seed })
  const deeds = jobs.flatMap(({ at, cancelAfter, info, model, priority }, nth) => {
    const ref = refs[nth]!
    const submit = {
      at: start + at,
      nth,
      act: () => {
        simulation = Simulation.submit(simulation, start + at, { ref, payload: {}, info, priority })
        assert.strictEqual(ref.model, models[model])
      }
    }
    if (cancelAfter === undefined) return [submit]
    const then = start + at + cancelAfter
    const cancel = () => {
      simulation = Simulation.modify(simulation, then, (queue, now) => Queue.cancel(queue, now, ref))[1]
    }
    return [submit, { at: then, nth, act: cancel }]
  })
  for (const { act } of deeds.sort((a, b) => a.at - b.at)) act()
  simulation = Simulation.advance(simulation, start + 86_400_000)
  return refs.map((ref) =>
    Option.getOrThrow(Queue.get(simulation.queue, ref)).history.map(({ _tag, at, attempt }) =>
      `${_tag} ${attempt} at ${at}`
    )
  )
}

const stepsOf = (transitions: ReadonlyArray<Transition.Transition>) =>
  transitions
    .filter(({ _tag }) => _tag !== "Progressed")
    .map(({ _tag, attempt, observedAt }) => `${_tag} ${attempt} at ${DateTime.toEpochMillis(observedAt)}`)

/** Polls after random pauses, from a millisecond to half a minute. */
const nowAndThen: Cadence.Cadence = Schedule.forever.pipe(
  Schedule.addDelayEffect(() => Effect.map(Random.next, (random) => 1 + Math.floor(30_000 * random ** 4)))
)

/** Submits a job, possibly cancels it, and watches it until its end. */
const live = ({ at, cancelAfter, info, model, priority }: Plan["jobs"][number]) =>
  Effect.gen(function*() {
    yield* Effect.sleep(at)
    const job = yield* JobQueue.submit({ model: models[model]!, payload: {}, info, priority })
    const cancel = cancelAfter === undefined ? Effect.void : Effect.delay(JobQueue.cancel(job), cancelAfter)
    const watch = JobStream.transitions(job, { cadence: nowAndThen }).pipe(Stream.runCollect)
    const [seen] = yield* Effect.all([watch, cancel], { concurrency: "unbounded" })
    return { job, seen: Chunk.toReadonlyArray(seen) }
  })

describe("history", () => {
  it.effect.prop(
    "matches the simulation, and the transitions of a watch with random polls",
    [plan],
    ([plan]) =>
      Effect.gen(function*() {
        yield* TestClock.setTime(start)
        yield* Effect.gen(function*() {
          const { startedAt, transitions } = yield* TestJobQueue.TestJobQueue
          const lives = yield* VirtualTime.run(Effect.forEach(plan.jobs, live, { concurrency: "unbounded" }))
          const noted = notes(plan, lives.map(({ job }) => job))
          for (const [nth, { job, seen }] of lives.entries()) {
            const truth = yield* transitions(job)
            assert.match(inLetters(truth), wholeLife)
            assert.deepStrictEqual(stepsOf(truth), noted[nth])
            let before = startedAt
            for (const { at, evidence, job: of, observedAt } of truth) {
              const observed = DateTime.toEpochMillis(observedAt)
              assert.strictEqual(evidence, "observed")
              assert.strictEqual(of.requestId, job.requestId)
              // a reported time equals the time of the step
              if (Option.isSome(at)) assert.strictEqual(DateTime.toEpochMillis(at.value), observed)
              assert.isAtLeast(observed, before)
              before = observed
            }
            yield* TestJobQueue.expectMatchesHistory(job, seen)
            yield* TestJobQueue.expectMatchesHistory(job, truth)
          }
        }).pipe(Effect.provide(TestJobQueue.layer({ workers: plan.pools, seed: plan.seed })))
      }),
    { fastCheck: { numRuns: runs(20, 160) } }
  )

  it.effect("has every progress of every attempt", () =>
    Effect.gen(function*() {
      const { transitions } = TestJobQueue
      const job = yield* JobQueue.submit({ model: models[0], payload: {}, info: { user: "u" } })
      yield* TestClock.adjust("1 hour")
      const lines = (yield* transitions(job)).map((transition) =>
        `${DateTime.toEpochMillis(transition.observedAt)} ${transition._tag} ${transition.attempt} ${
          transition._tag === "Progressed" ? JSON.stringify(transition.changed) : ""
        }`.trim()
      )
      assert.deepStrictEqual(lines, [
        "0 Queued 0",
        "1000 Claimed 1",
        "2000 Progressed 1 {\"progress\":0.1}",
        "3000 Progressed 1 {\"progress\":0.2}",
        // the heartbeat at 4000 changed nothing
        "14000 Requeued 1",
        "15000 Claimed 2",
        "16000 Progressed 2 {\"progress\":0.1}",
        "17000 Completed 2"
      ])
    }).pipe(Effect.provide(TestJobQueue.layer({
      workers: {
        pickup: "1 second",
        claimTimeout: "10 seconds",
        script: Worker.attempts(
          [Worker.progress("1 second", 0.1), Worker.progress("1 second", 0.2), Worker.heartbeat("1 second")],
          [Worker.progress("1 second", 0.1), Worker.finish("1 second")]
        )
      }
    }))))

  it.effect("reads progress with the program's progress rule", () =>
    Effect.gen(function*() {
      const { transitions } = TestJobQueue
      const job = yield* JobQueue.submit({ model: models[0], payload: {} })
      yield* TestClock.adjust("1 hour")
      const progress = (yield* transitions(job)).flatMap((transition) =>
        transition._tag === "Progressed" ? Option.toArray(transition.progress) : []
      )
      assert.deepStrictEqual(progress, [0.25, 0.5])
    }).pipe(
      Effect.provideService(Job.ProgressRule, ({ frames }) => Option.map(Option.some(Number(frames)), (n) => n / 8)),
      Effect.provide(TestJobQueue.layer({
        workers: {
          script: Worker.always(
            Worker.heartbeat(0, { frames: 2 }),
            Worker.heartbeat(0, { frames: 4 }),
            Worker.finish("1 second")
          )
        }
      }))
    ))

  it.effect("is available at any time, and only grows", () =>
    Effect.gen(function*() {
      const { transitions } = TestJobQueue
      const job = yield* JobQueue.submit({ model: models[0], payload: {} })
      let before: ReadonlyArray<string> = []
      for (let i = 0; i < 20; i++) {
        const truth = stepsOf(yield* transitions(job))
        assert.deepStrictEqual(truth.slice(0, before.length), before)
        before = truth
        yield* TestClock.adjust("3 seconds")
      }
      assert.strictEqual(before.at(-1), "RetriesExhausted 4 at 40000")
    }).pipe(Effect.provide(TestJobQueue.layer({
      workers: { claimTimeout: "10 seconds", script: Worker.always(Worker.stopResponding) }
    }))))

  it.effect("has the actual end of a job that a snapshot cannot distinguish", () =>
    Effect.gen(function*() {
      const ends: Array<string> = []
      for (const payload of [{ end: "lost" }, { end: "failed" }]) {
        const job = yield* JobQueue.submit({ model: models[0], payload })
        const seen = yield* Stream.runCollect(JobStream.transitions(job))
        const truth = yield* TestJobQueue.transitions(job)
        // the two ends look the same in a snapshot, so either is accepted
        yield* TestJobQueue.expectMatchesHistory(job, seen)
        ends.push(`seen ${Chunk.unsafeLast(seen)._tag}, truth ${truth.at(-1)?._tag}`)
      }
      assert.deepStrictEqual(ends, [
        "seen FailedByModel, truth RetriesExhausted",
        "seen RetriesExhausted, truth FailedByModel"
      ])
    }).pipe(
      VirtualTime.run,
      Effect.provide(TestJobQueue.layer({
        workers: {
          claimTimeout: "10 seconds",
          script: ({ attempt, payload }) =>
            payload["end"] === "lost"
              ? [Worker.heartbeat("1 second", { error: "out of memory, I try again" }), Worker.stopResponding]
              : attempt === 4
              ? [Worker.fail("1 second", " ")]
              : [Worker.stopResponding]
        }
      }))
    ))
})
