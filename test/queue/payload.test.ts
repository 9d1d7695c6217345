import { assert, describe, it } from "@effect/vitest"
import { assertNone } from "@effect/vitest/utils"
import * as Data from "effect/Data"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as TestContext from "effect/TestContext"
import { Blob as NodeBlob, File as NodeFile } from "node:buffer"
import { runInNewContext } from "node:vm"
import { JobQueue, JobRun, JobStage, SubmitJournal } from "../../src/index.js"
import { TestJobQueue } from "../../src/testing/index.js"
import * as Clients from "../fixtures/clients.js"
import * as HostileServer from "../fixtures/hostileServer.js"
import { inQueue } from "../fixtures/inQueue.js"
import { model } from "../fixtures/job.js"
import { runs } from "../fixtures/runs.js"

class Prompt {
  constructor(readonly text: string) {}
}

class Scene extends Schema.Class<Scene>("Scene")({ title: Schema.String }) {}

const epoch = DateTime.toDate(DateTime.unsafeMake(0))

const cycle: { self?: unknown } = {}
cycle.self = { inner: [cycle] }

const nested = (levels: number): unknown => {
  let value: unknown = {}
  for (let i = 1; i < levels; i++) value = { a: value }
  return value
}

/** Values that JSON loses or changes, with their names in messages. */
const unsayable: ReadonlyArray<readonly [what: string, value: unknown]> = [
  ["NaN", NaN],
  ["Infinity", Infinity],
  ["-Infinity", -Infinity],
  ["a bigint", 10n],
  ["a symbol", Symbol("s")],
  ["a function", () => 1],
  ["a function", Prompt],
  ["an instance of Blob", new NodeBlob(["abc"])],
  ["an instance of File", new NodeFile(["abc"], "a.txt")],
  ["an instance of FormData", new FormData()],
  ["an instance of Headers", new Headers({ a: "b" })],
  ["an instance of Response", new Response("abc")],
  ["an instance of ReadableStream", new ReadableStream()],
  ["an instance of URLSearchParams", new URLSearchParams("a=b")],
  ["an instance of Map", new Map([["a", 1]])],
  ["an instance of Set", new Set([1])],
  ["an instance of WeakMap", new WeakMap()],
  ["an instance of RegExp", /a/],
  ["an instance of ArrayBuffer", new ArrayBuffer(8)],
  ["an instance of Uint8Array", new Uint8Array(8)],
  ["an instance of Float64Array", new Float64Array(8)],
  ["an instance of DataView", new DataView(new ArrayBuffer(8))],
  ["an instance of Error", new Error("no")],
  ["an instance of TypeError", new TypeError("no")],
  ["an instance of Promise", Promise.resolve(1)],
  ["an instance of Prompt", new Prompt("a cat")],
  ["an instance of Scene", new Scene({ title: "a cat" })],
  ["an instance of Object", Math], // it has a tag of its own, as iterators do
  ["an invalid Date", new Date(NaN)],
  ["an Effect", Effect.succeed(1)],
  ["an Effect", Option.some(1)],
  ["a cycle", cycle]
]

const missing: ReadonlyArray<unknown> = [undefined, { toJSON: () => undefined }]

const detailOf = (request: JobQueue.SubmitRequest) =>
  Effect.map(Effect.flip(JobQueue.submit(request)), (error) => {
    assert(error._tag === "InvalidRequest" && error.httpStatus === undefined, error.message)
    assert.strictEqual(error.model, model)
    return error.detail
  })

const refusesAll = Effect.gen(function*() {
  for (const [what, value] of unsayable) {
    const words = `${what} cannot be represented in JSON`
    const at = value === cycle ? ".self.inner[0]" : ""
    for (
      const [payload, path] of [
        [{ value }, ".value"],
        [{ frames: [0, "1", null, value] }, ".frames[3]"],
        [{ a: [{ "b c": { d_1: value } }] }, ".a[0][\"b c\"].d_1"],
        [{ a: { toJSON: () => ({ b: value }) } }, ".a.b"]
      ] as const
    ) {
      assert.strictEqual(yield* detailOf({ model, payload }), `payload${path}${at}: ${words}`)
      assert.strictEqual(yield* detailOf({ model, payload: {}, info: payload }), `info${path}${at}: ${words}`)
    }
  }
  for (const value of missing) {
    const detail = yield* detailOf({ model, payload: { frames: ["0", value] } })
    assert.strictEqual(detail, "payload.frames[1]: undefined cannot be represented in JSON")
  }

  assert.include(yield* detailOf({ model, payload: { frames: [0, , 2] } }), "payload.frames[1]: undefined")
  assert.include(yield* detailOf({ model, payload: nested(1_001) as never }), "a nesting of more than 1000 levels")
  const throws = {
    get text() {
      throw new Error("no")
    }
  }
  assert.strictEqual(yield* detailOf({ model, payload: { throws } }), "payload.throws: it throws when it is read")
  for (const payload of [new Map(), new NodeBlob([]), new Prompt("a cat"), Promise.resolve({}), epoch]) {
    assert.match((yield* detailOf({ model, payload: payload as never })) ?? "", /^payload: /)
  }
})

describe("a payload that JSON cannot represent is rejected, with its path, before a request is sent", () => {
  for (const { layer, name } of Clients.clients) {
    it.scopedLive(`over ${name}`, () =>
      Effect.gen(function*() {
        const server = yield* HostileServer.make((response) => response.end("{}"))
        const queue = yield* Clients.make({ baseUrl: server.url, apiKey: Redacted.make("any") })
        yield* Effect.provideService(refusesAll, JobQueue.JobQueue, queue)
        assert.strictEqual(server.connections, 0)
      }).pipe(Effect.provide(layer)))
  }

  it.effect("in memory", () =>
    Effect.gen(function*() {
      yield* refusesAll
      assert.strictEqual((yield* TestJobQueue.counts).submit, 0)
    }).pipe(inQueue({})))

  it.effect("by a run, a stage, and a submit with a journal, which has no entry for it", () =>
    Effect.gen(function*() {
      const payload = { frames: [new Map()] }
      const words = "payload.frames[0]: an instance of Map cannot be represented in JSON"
      const ran = yield* Effect.flip(JobRun.run({ model, payload }))
      const submitted = yield* Effect.flip(JobRun.submit({ model, payload }, { key: "order-17" }))
      const cyclic = yield* Effect.flip(JobRun.submit({ model, payload: { a: cycle, b: cycle } }, { key: "order-17" }))
      const stage = JobStage.make("stage", {
        model,
        payload: Schema.Struct({ a: Schema.Unknown }),
        outputs: Schema.Struct({})
      })
      const { error: staged } = yield* Effect.flip(stage({ a: NaN }))
      assert(ran._tag === "InvalidRequest" && submitted._tag === "InvalidRequest" && staged._tag === "InvalidRequest")
      assert.deepStrictEqual([ran.detail, submitted.detail], [words, words])
      assert.strictEqual(staged.detail, "payload.a: NaN cannot be represented in JSON")
      assert.include(cyclic.message, "payload.a.self.inner[0]: a cycle")
      assertNone(yield* Effect.flatMap(SubmitJournal.SubmitJournal, ({ get }) => get("order-17")))
      assert.strictEqual((yield* TestJobQueue.counts).submit, 0)
    }).pipe(Effect.provide(SubmitJournal.layerMemory), inQueue({})))
})

describe("a payload arrives as JSON represents it", () => {
  const arrived = (payload: JobQueue.SubmitRequest["payload"], info: JobQueue.SubmitRequest["payload"] = {}) =>
    Effect.flatMap(JobQueue.submit({ model, payload, info }), JobQueue.status)

  it.effect("with the values of toJSON, and without undefined", () =>
    Effect.gen(function*() {
      const at = DateTime.toDate(DateTime.unsafeMake("2026-02-07T10:30:00Z"))
      const shared = { a: 1 }
      const { info, inputs } = yield* arrived({
        at,
        url: new URL("https://example.com/a"),
        time: DateTime.unsafeMake(at),
        bytes: Buffer.from("ab"),
        data: Data.struct({ a: Data.array([1]) }),
        bare: Object.assign(Object.create(null), { a: 1 }),
        foreign: runInNewContext("({ a: [1] })"),
        nothing: null,
        absent: undefined,
        twice: [shared, shared],
        keys: [{ toJSON: (key: string) => key }],
        zero: -0,
        own: JSON.parse("{\"__proto__\": 1, \"constructor\": 2}")
      }, { at })
      assert.deepStrictEqual(
        inputs,
        JSON.parse(JSON.stringify({
          at: "2026-02-07T10:30:00.000Z",
          url: "https://example.com/a",
          time: "2026-02-07T10:30:00.000Z",
          bytes: { type: "Buffer", data: [97, 98] },
          data: { a: [1] },
          bare: { a: 1 },
          foreign: { a: [1] },
          nothing: null,
          twice: [shared, shared],
          keys: ["0"],
          zero: 0,
          own: JSON.parse("{\"__proto__\": 1, \"constructor\": 2}")
        }))
      )
      assert.deepStrictEqual(info["at"], "2026-02-07T10:30:00.000Z")
      yield* arrived(nested(1_000) as never)
    }).pipe(inQueue({})))

  it("law: an accepted payload arrives as JSON.stringify encodes it, and is accepted only if that loses nothing", async () => {
    const leaf = FastCheck.oneof(
      FastCheck.constantFrom<unknown>(...unsayable.map(([, value]) => value), ...missing),
      FastCheck.jsonValue(),
      FastCheck.double(),
      FastCheck.date()
    )
    const { tree } = FastCheck.letrec((tie) => ({
      tree: FastCheck.oneof(
        { depthSize: "small", withCrossShrink: true },
        leaf,
        FastCheck.array(tie("tree"), { maxLength: 3 }),
        FastCheck.dictionary(FastCheck.string(), tie("tree"), { maxKeys: 3 })
      )
    }))
    // whether JSON loses a part of the value, determined independently of the implementation
    const loses = (value: unknown, isElement = false): boolean => {
      if (value === undefined || missing.includes(value)) return isElement
      if (unsayable.some(([, other]) => Object.is(other, value))) return true
      if (typeof value === "number") return !Number.isFinite(value)
      if (value instanceof Date) return Number.isNaN(value.getTime())
      if (Array.isArray(value)) return value.some((element) => loses(element, true))
      return typeof value === "object" && value !== null && Object.values(value).some((entry) => loses(entry))
    }
    const queue = ManagedRuntime.make(Layer.provideMerge(TestJobQueue.layer(), TestContext.TestContext))
    await FastCheck.assert(
      FastCheck.asyncProperty(
        FastCheck.dictionary(FastCheck.string(), tree, { maxKeys: 3 }),
        (payload) =>
          Effect.gen(function*() {
            const job = yield* Effect.either(JobQueue.submit({ model, payload }))
            assert.strictEqual(job._tag, loses(payload) ? "Left" : "Right")
            if (job._tag === "Left") return
            const { inputs } = yield* JobQueue.status(job.right)
            assert.strictEqual(JSON.stringify(inputs), JSON.stringify(payload))
          }).pipe(queue.runPromise)
      ),
      { numRuns: runs(150, 300) }
    )
    await queue.dispose()
  })

  it.effect("law: a key identifies the JSON of a payload, not its objects", () =>
    Effect.gen(function*() {
      const submit = (payload: JobQueue.SubmitRequest["payload"]) =>
        JobRun.submit({ model, payload }, { key: "order-17" })
      const job = yield* submit({ at: epoch, seed: undefined })
      assert.deepStrictEqual(yield* submit({ at: "1970-01-01T00:00:00.000Z" }), job)
      for (const payload of [{ at: DateTime.toDate(DateTime.unsafeMake(1)) }, { at: epoch, seed: null }]) {
        assert.strictEqual((yield* Effect.flip(submit(payload)))._tag, "InvalidRequest")
      }
      yield* TestJobQueue.expectJobs(1)
    }).pipe(Effect.provide(SubmitJournal.layerMemory), inQueue({})))
})
