/**
 * Runs the `Conformance` checks against every queue, and checks that the queues return the same results for any
 * sequence of calls.
 */
import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Redacted from "effect/Redacted"
import * as Runtime from "effect/Runtime"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/TestClock"
import { inject } from "vitest"
import { Emulator } from "../src/emulator/index.js"
import { Job, JobQueue, QueueError } from "../src/index.js"
import { Conformance, TestJobQueue, Worker } from "../src/testing/index.js"
import { diffLines, inline, same } from "../src/testing/internal/diff.js"
import * as Clients from "./fixtures/clients.js"
import { runs } from "./fixtures/runs.js"
import * as Scripted from "./testing/conformance/scripted.js"

const onEmulator = (client: Layer.Layer<Clients.Client> = Clients.overFetch) =>
  Layer.scoped(
    JobQueue.JobQueue,
    Effect.flatMap(Emulator.Emulator, ({ baseUrl }) => Clients.make({ baseUrl, apiKey: Redacted.make("any") }))
  ).pipe(Layer.provide(client))

const inMemory = (workers?: Worker.Pool) => TestJobQueue.layer({ workers })

const overHttp = (workers?: Worker.Pool, client?: Layer.Layer<Clients.Client>) =>
  Layer.provide(onEmulator(client), Emulator.layer({ workers }))

describe("the in-memory queue, in virtual time", () => {
  const checks = Scripted.checks({ layer: inMemory, pass: TestClock.adjust })
  for (const check of checks) it.effect(check.name, () => check.run)
})

// concurrent, because in real time the checks mostly wait
describe.concurrent("the in-memory queue", () => {
  const checks = Scripted.checks({ layer: inMemory, pass: Effect.sleep })
  for (const check of checks) it.live(check.name, () => check.run)
})

for (
  const [name, client] of [["the client over HTTP", Clients.overFetch], [
    "the client for Node",
    Clients.onNode
  ]] as const
) {
  describe.concurrent(`${name}, on the emulator`, () => {
    const layer = (workers?: Worker.Pool) => overHttp(workers, client)
    const checks = Scripted.checks({ layer, pass: Effect.sleep })
    for (const check of checks) it.live(check.name, () => check.run)
  })
}

/** Workers with unknown behaviour: it differs for each claim. */
const strangers = (): Worker.Pool => {
  let claims = 0
  return {
    workers: 2,
    pickup: "3 millis",
    claimTimeout: "30 millis",
    script: () => {
      switch (claims++ % 4) {
        case 0:
          return [Worker.progress("10 millis", 0.5), Worker.finish("10 millis", { video_url: "https://example.com" })]
        case 1:
          return [] // it stops responding
        case 2:
          return [Worker.heartbeat(0, { note: "the worker's" }), Worker.fail("5 millis", "CUDA out of memory")]
        default:
          return [Worker.finish("25 millis")]
      }
    }
  }
}

// The calls that the real service would receive, without their cost.
describe("a shared queue with unknown workers", () => {
  const runtime = ManagedRuntime.make(Layer.provideMerge(onEmulator(), Emulator.layer({ workers: strangers() })))
  afterAll(() => runtime.dispose())
  beforeAll(() =>
    runtime.runPromise(
      Effect.repeatN(JobQueue.submit({ model: Scripted.model, payload: { whose: "another's" } }), 9)
    )
  )
  const checks = Conformance.checks({
    layer: Layer.effectContext(Effect.map(runtime.runtimeEffect, ({ context }) => context)),
    pass: Effect.sleep
  })
  for (const check of checks) it.live(check.name, () => check.run)

  it("is never cleared", () =>
    runtime.runPromise(Effect.gen(function*() {
      const requests = yield* (yield* Emulator.Emulator).requests
      assert.isAbove(requests.length, checks.length)
      assert.deepStrictEqual(requests.filter(({ url }) => url.includes("clear")), [])
    })))
})

describe("an exclusive queue with unknown workers", () => {
  const subject = { layer: Layer.suspend(() => overHttp(strangers())), pass: Effect.sleep }
  const shared = new Set(Conformance.checks(subject).map(({ name }) => name))
  const checks = Conformance.checks({ ...subject, access: "exclusive" })
  for (const check of checks.filter(({ name }) => !shared.has(name))) it.live(check.name, () => check.run)
})

describe("the real service", () => {
  const service = inject("service")
  const { TOGETHER_CONFORMANCE_MODEL: model = "" } = service
  const missing = ["TOGETHER_API_KEY", "TOGETHER_CONFORMANCE_MODEL"].filter((name) => !service[name]?.trim())
  const fromCaller = Layer.setConfigProvider(ConfigProvider.fromMap(new Map(Object.entries(service))))
  const checks = Conformance.checks({
    layer: JobQueue.layer().pipe(Layer.provide([FetchHttpClient.layer, fromCaller])),
    pass: Effect.sleep,
    model
  })
  if (missing.length > 0) {
    const are = missing.length === 1 ? "is" : "are"
    it.skip(`the real service: ${checks.length} checks, not run: ${missing.join(" and ")} ${are} not set`, () => {})
  } else {
    for (const check of checks) it.live(check.name, () => check.run)
  }
})

// -----------------------------------------------------------------------------
// the same calls, the same results
// -----------------------------------------------------------------------------

/** One call; `model` and `job` are indices, modulo the number of models and jobs. */
type Call =
  | { readonly call: "submit"; readonly model: number; readonly fields: object }
  | { readonly call: "status" | "cancel"; readonly job: number; readonly ofModel?: number | undefined }
  | { readonly call: "clear" | "metrics"; readonly model: number }
  | { readonly call: typeof operations[number]; readonly input: unknown }

const operations = ["status", "submit", "cancel", "clear", "metrics"] as const

const key = FastCheck.oneof(
  { arbitrary: FastCheck.string({ unit: "grapheme", maxLength: 6 }), weight: 4 },
  { arbitrary: FastCheck.constantFrom("__proto__", "constructor", "toString", "progress", "error"), weight: 1 }
)

const jsonObject = FastCheck.array(FastCheck.tuple(key, FastCheck.jsonValue({ maxDepth: 2 })), { maxLength: 4 }).map(
  // a key __proto__ is a key
  (entries) => Object.fromEntries(entries)
)

const payload = FastCheck.tuple(FastCheck.constantFrom("finish", "fail", "hold", "report"), jsonObject).map(
  ([what, rest]) => ({ ...rest, do: what })
)

const priority = FastCheck.oneof(
  FastCheck.integer({ min: -2, max: 2 }),
  FastCheck.constantFrom(Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER, -0)
)

const number = FastCheck.nat(999)

// Without values that JSON cannot represent: their error messages differ between the queues.
const oddInput = FastCheck.constantFrom<unknown>(
  ...[undefined, null, {}, [], 5, "", " ", "my-org/video-generator", { model: " ", requestId: "x" }],
  ...[{ model: "m", requestId: " " }, { model: "m", payload: [] }, { model: "m", payload: {}, priority: 0.5 }],
  ...[{ model: "m", payload: {}, info: "x" }],
  ...[{ model: "m", requestId: "__proto__" }, { model: "größe/模型", requestId: "../x?y=%2F" }]
)

const aCall: FastCheck.Arbitrary<Call> = FastCheck.oneof(
  {
    arbitrary: FastCheck.record({
      call: FastCheck.constant("submit" as const),
      model: number,
      fields: FastCheck.record({ payload, info: jsonObject, priority }, { requiredKeys: ["payload"] })
    }),
    weight: 4
  },
  {
    arbitrary: FastCheck.record({
      call: FastCheck.constantFrom("status" as const, "cancel" as const),
      job: number,
      ofModel: FastCheck.oneof({ arbitrary: FastCheck.constant(undefined), weight: 5 }, {
        arbitrary: number,
        weight: 1
      })
    }),
    weight: 7
  },
  {
    arbitrary: FastCheck.record({
      call: FastCheck.constantFrom("metrics" as const, "metrics" as const, "clear" as const),
      model: number
    }),
    weight: 2
  },
  {
    arbitrary: FastCheck.record({
      call: FastCheck.constantFrom(...operations),
      input: oddInput
    }),
    weight: 1
  }
)

// Whole characters: half of a surrogate pair can't be in a URL, so that over HTTP its job is not found.
const namesOfModels = FastCheck.array(FastCheck.string({ unit: "grapheme", maxLength: 8 }), {
  minLength: 1,
  maxLength: 3
})

/** Workers whose steps take no time, so the result does not depend on the time of a poll. */
const atOnce: Worker.Pool = {
  claimTimeout: "2 hours",
  script: ({ payload }) => {
    switch (payload["do"]) {
      case "finish":
        return [Worker.progress(0, 1), Worker.finish(0, { answer: 42 })]
      case "fail":
        return [Worker.fail(0, "CUDA out of memory")]
      case "report":
        return [Worker.heartbeat(0, JSON.parse("{\"__proto__\":1,\"note\":\"the worker's\"}")), Worker.finish("1 hour")]
      default:
        return [Worker.finish("1 hour")]
    }
  }
}

const encodeStatus = Schema.encodeSync(Job.JobStatus)
const encodeError = Schema.encodeSync(QueueError.QueueError)

/** A value without the differences between queues: ids become numbers, and times become placeholders. */
const comparable = (value: unknown, jobs: ReadonlyArray<Job.JobRef>): string =>
  jobs.reduce(
    (text, { requestId }, i) => text.replaceAll(requestId, `<job ${i}>`),
    inline(value).replace(/"\d{4}-\d\d-\d\dT[\d:.]+Z"/g, "<time>")
  )

/** Makes the calls one after the other, and returns the result of each. */
const play = (queue: JobQueue.Service, models: ReadonlyArray<string>, calls: ReadonlyArray<Call>) =>
  Effect.gen(function*() {
    const jobs: Array<Job.JobRef> = []
    const answers: Array<string> = []
    const at = <A>(all: ReadonlyArray<A>, i: number): A => all[i % all.length]!
    for (const call of calls) {
      // untyped, as in JavaScript
      const make = queue[call.call] as (input: unknown) => Effect.Effect<unknown, QueueError.QueueError>
      const known = "job" in call ? (jobs.length === 0 ? Job.ref("no model", "no job") : at(jobs, call.job)) : undefined
      const input = "input" in call
        ? call.input
        : "fields" in call
        ? { model: at(models, call.model), ...call.fields }
        : "job" in call
        ? { ...known, ...(call.ofModel !== undefined && { model: at(models, call.ofModel) }) }
        : at(models, call.model)
      const answer = yield* Effect.either(make(input))
      if (call.call === "submit" && Either.isRight(answer)) jobs.push(answer.right as Job.JobRef)
      const said = Either.match(answer, {
        onLeft: (error): unknown => encodeError(error),
        onRight: (value) => call.call === "status" ? encodeStatus(value as Job.JobStatus) : value
      })
      answers.push(`${call.call} ${comparable(input, jobs)} → ${comparable(said, jobs)}`)
    }
    return answers
  })

/** Results that the calls must cover. */
const kinds = [
  ...["pending", "running", "done", "failed", "canceled"].map((state) => `status → "status": "${state}"`),
  ...["running", "done", "failed", "canceled"].map((state) => `cancel → "status": "${state}"`),
  "cancel → \"_tag\": \"Canceled\"",
  ...["status", "cancel"].map((call) => `${call} → "_tag": "JobNotFound"`),
  ...operations.map((call) => `${call} → "_tag": "InvalidRequest"`)
]

describe("the in-memory queue and the clients on the emulator", () => {
  it.scopedLive("return the same results for the same calls", () =>
    Effect.gen(function*() {
      const memory = Context.get(yield* Layer.build(inMemory(atOnce)), JobQueue.JobQueue)
      const clients = yield* Effect.forEach(
        [Clients.overFetch, Clients.onNode],
        (client) => Effect.map(Layer.build(overHttp(atOnce, client)), Context.get(JobQueue.JobQueue))
      )
      const runtime = yield* Effect.runtime()
      const heard = new Set<string>()
      let run = 0
      yield* Effect.promise(() =>
        FastCheck.assert(
          FastCheck.asyncProperty(
            namesOfModels,
            FastCheck.array(aCall, { minLength: 1, maxLength: 30, size: "max" }),
            (names, calls) =>
              Effect.gen(function*() {
                run++
                // all models but one are new in each run
                const models = [...names.map((name) => `${name} ${run}`), "__proto__"]
                const expected = yield* play(memory, models, calls)
                for (const client of clients) {
                  const actual = yield* play(client, models, calls)
                  const difference = `in memory (-) and over HTTP (+)\n${diffLines(expected, actual)}`
                  assert.isTrue(same(actual, expected), difference)
                }
                for (const line of expected) {
                  const [call = "", answer = ""] = line.split(/ .* → /s)
                  heard.add(`${call} → ${/"(status|_tag)": "(?!NotCanceled)\w+"/.exec(answer)?.[0]}`)
                }
              }).pipe(Runtime.runPromise(runtime))
          ),
          { numRuns: runs(25, 50) }
        )
      )
      assert.deepStrictEqual(kinds.filter((kind) => !heard.has(kind)), [])
    }))
})
