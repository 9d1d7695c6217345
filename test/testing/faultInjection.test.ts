/**
 * A call without a fault goes to the queue itself. A call with a fault goes through the HTTP client and the wire format.
 * Both must return the same results.
 */
import { assert, describe, it } from "@effect/vitest"
import { deepStrictEqual } from "@effect/vitest/utils"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/TestClock"
import { Job, JobQueue, QueueError } from "../../src/index.js"
import { Fault, TestJobQueue, VirtualTime, Worker } from "../../src/testing/index.js"
import { interruptedAnywhere } from "../fixtures/interruptions.js"
import { job } from "../fixtures/job.js"
import { runs } from "../fixtures/runs.js"

const models = ["my-org/video-generator", "größe/模型 🦊?&=%2F", "__proto__", "a lone \ud800", " "] as const

/** JSON values, and some values that JSON cannot represent. */
const json: FastCheck.Arbitrary<unknown> = FastCheck.oneof(
  { weight: 6, arbitrary: FastCheck.jsonValue({ maxDepth: 2 }) },
  { weight: 1, arbitrary: FastCheck.constantFrom<Array<unknown>>("\ud800", "größe 🦊", -0, 1e300) }
)

const object = FastCheck.array(
  FastCheck.tuple(FastCheck.constantFrom("progress", "note", "__proto__", "constructor", "error"), json),
  { maxLength: 3 }
).map((entries): Job.JsonObject => Object.fromEntries(entries))

const beyondJson: FastCheck.Arbitrary<Job.JsonObject> = FastCheck.constantFrom<Array<Job.JsonObject>>(
  { nothing: undefined, list: [undefined, () => 1] },
  { at: new Date(0), not: NaN, much: Infinity },
  { toJSON: () => ({ other: 1 }) },
  { huge: 1n }
)

type Command =
  | { readonly _tag: "Wait"; readonly millis: number }
  | { readonly _tag: "Submit"; readonly request: JobQueue.SubmitRequest }
  | { readonly _tag: "Status" | "Cancel"; readonly nth: number; readonly model: string | undefined }
  | { readonly _tag: "Clear" | "Metrics"; readonly model: string }

const model = FastCheck.oneof(
  { weight: 4, arbitrary: FastCheck.constant(models[0]) },
  { weight: 1, arbitrary: FastCheck.constantFrom(...models) }
)

const command: FastCheck.Arbitrary<Command> = FastCheck.oneof(
  {
    weight: 3,
    // the service has whole milliseconds; a program may use fractions
    arbitrary: FastCheck.oneof(FastCheck.nat(10_000), FastCheck.constantFrom(0, 0.3, 999.5)).map((millis) => ({
      _tag: "Wait" as const,
      millis
    }))
  },
  {
    weight: 3,
    arbitrary: FastCheck.record({
      model,
      payload: FastCheck.oneof({ weight: 5, arbitrary: object }, { weight: 1, arbitrary: beyondJson }),
      info: FastCheck.option(FastCheck.oneof({ weight: 5, arbitrary: object }, { weight: 1, arbitrary: beyondJson }), {
        nil: undefined
      }),
      priority: FastCheck.constantFrom(undefined, 0, 1, -7, 1.5)
    }).map((request) => ({ _tag: "Submit" as const, request }))
  },
  {
    weight: 6,
    arbitrary: FastCheck.record({
      _tag: FastCheck.constantFrom<Array<"Status" | "Cancel">>("Status", "Status", "Cancel"),
      nth: FastCheck.nat(2),
      model: FastCheck.option(model, { nil: undefined, freq: 9 })
    })
  },
  {
    weight: 2,
    arbitrary: FastCheck.record({
      _tag: FastCheck.constantFrom<Array<"Clear" | "Metrics">>("Clear", "Metrics"),
      model
    })
  }
)

// a first job, so that there is one to poll
const commands = FastCheck.array(command, { maxLength: 16 }).map((commands): ReadonlyArray<Command> => [
  { _tag: "Submit", request: { model: models[0], payload: {} } },
  ...commands
])

const step: FastCheck.Arbitrary<Worker.Step> = FastCheck.tuple(FastCheck.nat(5_000), object, FastCheck.nat(4)).map(
  ([after, object, kind]) =>
    kind === 0
      ? Worker.finish(after, object)
      : kind === 1
      ? Worker.fail(after, "out of memory")
      : kind === 2
      ? Worker.stopResponding
      : Worker.heartbeat(after, object)
)

const options = FastCheck.record({
  workers: FastCheck.record({
    script: FastCheck.array(FastCheck.array(step, { maxLength: 3 }), { minLength: 1, maxLength: 3 }).map((attempts) =>
      Worker.attempts(...attempts)
    ),
    claimTimeout: FastCheck.constantFrom(1, 3_000),
    pickup: FastCheck.constantFrom(0, 1_000)
  }),
  seed: FastCheck.nat()
})

/** The observable results: the response or the error of each command, and the log of calls. */
const run = (commands: ReadonlyArray<Command>, options: TestJobQueue.Options) =>
  Effect.gen(function*() {
    const { calls, jobs } = yield* TestJobQueue.TestJobQueue
    const jobOf = (nth: number, model: string | undefined) =>
      Effect.map(jobs, (jobs) => {
        const job = jobs[nth] ?? Job.ref("my-org/video-generator", "no such job")
        return model === undefined ? job : Job.ref(model, job.requestId)
      })
    const act = (
      command: Command
    ): Effect.Effect<unknown, QueueError.QueueError, JobQueue.JobQueue> => {
      switch (command._tag) {
        case "Wait":
          return TestClock.adjust(command.millis)
        case "Submit":
          return JobQueue.submit(command.request)
        case "Status":
          return Effect.flatMap(jobOf(command.nth, command.model), JobQueue.status)
        case "Cancel":
          return Effect.flatMap(jobOf(command.nth, command.model), JobQueue.cancel)
        case "Clear":
          return JobQueue.clear(command.model)
        case "Metrics":
          return JobQueue.metrics(command.model)
      }
    }
    // an error as JSON, because its stack differs
    const answers = yield* Effect.forEach(commands, (command) => Effect.either(Effect.mapError(act(command), encode)))
    return { answers, calls: yield* calls, jobs: yield* jobs }
  }).pipe(VirtualTime.run, Effect.provide(TestJobQueue.layer(options)))

const encode = Schema.encodeSync(QueueError.QueueError)

const nothing = Fault.delay(0)

/** Injects a fault permanently. */
const afflict = (fault: Fault.Fault) => Effect.asVoid(TestJobQueue.inject(fault))

it.scopedLive("a call with a fault that is interrupted anywhere leaves the next one as it is", () =>
  Effect.gen(function*() {
    const build = Layer.build(Layer.fresh(TestJobQueue.layer({ faults: [Fault.notFound] })))
    let queue = yield* build
    yield* interruptedAnywhere(
      () => Effect.provide(Effect.flip(JobQueue.status(job)), queue),
      () =>
        Effect.gen(function*() {
          assert.strictEqual((yield* Effect.provide(Effect.flip(JobQueue.status(job)), queue))._tag, "JobNotFound")
          queue = yield* build
        })
    )
  }))

describe("the wire", () => {
  it.effect.prop(
    "does not change any result",
    [commands, options],
    ([commands, options]) =>
      Effect.gen(function*() {
        yield* TestClock.setTime(0)
        const direct = yield* run(commands, options)
        yield* TestClock.setTime(0)
        const wired = yield* run(commands, { ...options, faults: [nothing] })
        deepStrictEqual(wired, direct)
      }),
    { fastCheck: { numRuns: runs(20, 160) } }
  )

  it.effect("does not change worker reports that JSON cannot represent", () => {
    const outputs = { gone: undefined, at: new Date(0), not: NaN }
    return Effect.gen(function*() {
      const { finish, heartbeat } = TestJobQueue
      const job = yield* JobQueue.submit({ model: "workers", payload: {} })
      const other = yield* JobQueue.submit({ model: "the test", payload: {} })
      yield* TestJobQueue.claim("the test")
      yield* heartbeat(other, outputs)
      yield* finish(other, outputs)
      outputs.not = 1
      const expected = { at: "1970-01-01T00:00:00.000Z", not: null }
      deepStrictEqual((yield* JobQueue.status(job)).outputs, expected)
      deepStrictEqual((yield* JobQueue.status(job)).info, expected)
      deepStrictEqual((yield* JobQueue.status(other)).outputs, expected)
      deepStrictEqual((yield* JobQueue.status(other)).info, expected)
    }).pipe(Effect.provide(TestJobQueue.layer({
      workers: { model: "workers", script: Worker.always(Worker.heartbeat(0, outputs), Worker.finish(0, outputs)) }
    })))
  })

  it.effect("returns a decoded copy of the status document", () =>
    Effect.gen(function*() {
      const job = yield* JobQueue.submit({ model: models[0], payload: { a: 1 } })
      const direct = yield* JobQueue.status(job)
      yield* afflict(nothing)
      const wired = yield* JobQueue.status(job)
      deepStrictEqual(wired, direct)
      // one is the queue's own object, the other was encoded and decoded
      assert.notStrictEqual(wired.inputs, direct.inputs)
    }).pipe(Effect.provide(TestJobQueue.layer())))
})
