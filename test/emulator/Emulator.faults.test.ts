/**
 * The same faults, in memory and over HTTP: a program must receive the same results from both, or a test with one would
 * not apply to the other.
 */
import { assert, describe, it } from "@effect/vitest"
import { deepStrictEqual } from "@effect/vitest/utils"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { Emulator } from "../../src/emulator/index.js"
import type { Job } from "../../src/index.js"
import { JobQueue, QueueError } from "../../src/index.js"
import { Fault, TestJobQueue } from "../../src/testing/index.js"
import * as Clients from "../fixtures/clients.js"

const model = "my-org/video-generator"

// the duration of a call without a response
const hastily = "2 seconds"

// longer than any call with a response, even on a busy machine
const patiently = "5 minutes"

const hangs = ({ label }: Fault.Fault): boolean => label === Fault.noResponse.label || label === Fault.stalled.label

/** The queue for the call that meets the fault. */
class Disturbed extends Context.Tag("test/Disturbed")<Disturbed, JobQueue.Service>() {}

const overHttp = (faults: ReadonlyArray<Fault.Fault>, client: Layer.Layer<Clients.Client> = Clients.overFetch) => {
  const withTimeout = (requestTimeout: Duration.DurationInput) =>
    Effect.flatMap(
      Emulator.Emulator,
      ({ baseUrl }) => Clients.make({ baseUrl, apiKey: Redacted.make("any"), requestTimeout })
    )
  return Layer.merge(
    Layer.scoped(JobQueue.JobQueue, withTimeout(patiently)),
    Layer.scoped(Disturbed, withTimeout(faults.some(hangs) ? hastily : patiently))
  ).pipe(Layer.provide(Emulator.layer({ faults })), Layer.provide(client))
}

const inMemory = (faults: ReadonlyArray<Fault.Fault>) => {
  const queue = TestJobQueue.layer({ faults, requestTimeout: faults.some(hangs) ? hastily : patiently })
  return Layer.provideMerge(Layer.effect(Disturbed, JobQueue.JobQueue), queue)
}

const encodeError = Schema.encodeSync(QueueError.QueueError)

// Ids, times, and the text of a connection error differ between runs.
const plain = (value: unknown, jobs: ReadonlyArray<string>): unknown =>
  JSON.parse(
    JSON.stringify(value, (key, value) => key === "reason" || key === "createdAt" || key === "created_at" ? "…" : value)
      .replace(/[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}/g, (id) => `job ${jobs.indexOf(id)}`)
  )

type Call = (job: Job.JobRef) => Effect.Effect<unknown, QueueError.QueueError, JobQueue.JobQueue>

const operations: { readonly [operation in QueueError.Operation]: Call } = {
  status: JobQueue.status,
  submit: () => JobQueue.submit({ model, payload: {}, info: { note: "second" } }),
  cancel: JobQueue.cancel,
  clear: () => JobQueue.clear(model),
  metrics: () => JobQueue.metrics(model)
}

/** The result of a call that meets a fault, and the number of pending jobs after it; polls until this is `expected`. */
const meet = (operation: QueueError.Operation, expected?: number) =>
  Effect.gen(function*() {
    const job = yield* JobQueue.submit({ model, payload: { prompt: "a cat" } })
    const answer = yield* Effect.either(
      Effect.provideServiceEffect(operations[operation](job), JobQueue.JobQueue, Disturbed)
    )
    // the request may still be in flight
    const { waiting } = yield* JobQueue.metrics(model).pipe(
      Effect.repeat({ until: ({ waiting }) => expected === undefined || waiting === expected })
    )
    const encoded = Either.match(answer, { onLeft: encodeError, onRight: (value): unknown => value })
    return { waiting, answer: plain(encoded, [job.requestId]) }
  })

const faults: ReadonlyArray<Fault.Fault> = [
  Fault.rateLimited("10 seconds"),
  Fault.rateLimited("1500 millis"),
  Fault.unavailable(),
  Fault.unavailable({ status: 500, retryAfter: "1 minute" }),
  Fault.unauthorized,
  Fault.notFound,
  Fault.malformed(),
  Fault.malformed({ hello: "world" }),
  Fault.answer(418, { message: "I am a teapot" }, { "x-request-id": "req-1" }),
  Fault.answer(204),
  Fault.disconnected,
  Fault.noResponse,
  Fault.answerLost(),
  Fault.answerLost(Fault.unavailable({ status: 502 })),
  Fault.truncated,
  Fault.stalled,
  Fault.delay("30 millis"),
  Fault.unknownStatus("paused"),
  Fault.stale("1 hour"),
  Fault.mapStatus((status) => ({ ...status, info: { ...status.info, changed: true } }))
]

describe("a fault on the emulator has the same effect as in memory", () => {
  for (const fault of faults) {
    it.live(`${fault}`, () =>
      Effect.forEach(
        Object.keys(operations) as ReadonlyArray<QueueError.Operation>,
        (operation) =>
          Effect.gen(function*() {
            // only the tested call, neither the submit before it nor the metrics call at the end
            const nth = operation === "submit" ? 2 : 1
            const met = [fault.pipe(Fault.on(operation), Fault.nth(nth))]
            const expected = yield* Effect.provide(meet(operation), inMemory(met))
            const actual = yield* Effect.all([
              Effect.provide(meet(operation, expected.waiting), overHttp(met)),
              Effect.provide(meet(operation, expected.waiting), overHttp(met, Clients.onNode))
            ], { concurrency: "unbounded" })
            deepStrictEqual(actual, [expected, expected])
          }),
        { concurrency: "unbounded" }
      ))
  }

  it.live("a random fault meets the same calls for the same seed", () =>
    Effect.gen(function*() {
      const some = [Fault.rateLimited().pipe(Fault.on("metrics"), Fault.withProbability(0.5))]
      const hits = Effect.forEach(Array.from({ length: 40 }), () => Effect.isFailure(JobQueue.metrics(model)))
      const expected = yield* Effect.provide(hits, inMemory(some))
      assert.include(expected, true)
      assert.include(expected, false)
      assert.deepStrictEqual(yield* Effect.provide(hits, overHttp(some)), expected)
    }))

  it.live("a connection that a fault breaks does not affect others", () =>
    Effect.gen(function*() {
      const job = yield* JobQueue.submit({ model, payload: {} })
      const answers = yield* Effect.forEach(
        Array.from({ length: 30 }),
        () => Effect.either(JobQueue.status(job)),
        { concurrency: 10 }
      )
      const failed = answers.filter(Either.isLeft)
      assert.deepStrictEqual(failed.map(({ left }) => left._tag), Array.from({ length: 10 }, () => "Unreachable"))
      assert.strictEqual((yield* JobQueue.status(job))._tag, "Pending")
    }).pipe(Effect.provide(overHttp([Fault.disconnected.pipe(Fault.on("status"), Fault.nth(11, 20))]))))
})
