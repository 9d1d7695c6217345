import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { Worker } from "../../src/testing/index.js"
import {
  connect,
  emulate,
  get,
  json,
  ManualClock,
  noticing,
  post,
  refused,
  statusOf,
  submitted,
  until
} from "../fixtures/emulator.js"
import type { Request, Running } from "../fixtures/emulator.js"
import { job } from "../fixtures/job.js"
import * as OutsideWorker from "../fixtures/worker.js"

const model = "my-org/video-generator"

const unknownId = job.requestId

const retrieve = (query: { readonly [name: string]: string }): Request => ({
  path: `/internal/v1/queue/retrieve?${new URLSearchParams(query)}`
})

const update = (body: unknown): Request => ({ method: "POST", path: "/internal/v1/videos/status", body })

/** Polls for a job as a worker; returns `undefined` if there is none. */
const take = ({ ask }: Running, query: { readonly [name: string]: string }) =>
  Effect.map(ask(retrieve(query)), (answer) => {
    assert.strictEqual(answer.status, 200, answer.text)
    return json(answer).data
  })

/** Reports the status of a job. */
const report = ({ ask }: Running, body: { readonly [field: string]: unknown }) =>
  Effect.map(ask(update(body)), (answer) => {
    assert.deepStrictEqual([answer.status, answer.text], [200, "{}"])
  })

/** Waits until `count` requests have arrived. */
const arrived = (running: Running, count: number, path: string): Effect.Effect<void> =>
  Effect.gen(function*() {
    for (;;) {
      if ((yield* running.requests).filter(({ url }) => url.startsWith(path)).length >= count) return
      yield* Effect.sleep("2 millis")
    }
  })

const polls = "/internal/v1/queue/retrieve"

/** An external worker that runs until the scope closes. */
const working = (running: Running, work: OutsideWorker.Work, settings: Partial<OutsideWorker.Settings> = {}) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => {
        const controller = new AbortController()
        const all = { origin: running.origin, model, claimTimeout: 30, ...settings }
        return { controller, ended: OutsideWorker.run(all, work, controller.signal) }
      }),
      ({ controller, ended }) =>
        Effect.promise(async () => {
          controller.abort()
          await ended
        })
    ),
    ({ controller, ended }) =>
      Effect.promise(() => {
        controller.abort()
        return ended
      })
  )

describe("an external worker", () => {
  describe("receives", () => {
    it.scopedLive("the job with its fields", () =>
      Effect.gen(function*() {
        const running = yield* emulate()
        const id = yield* submitted(running, { model, payload: { prompt: "a cat" }, info: { user: "me" }, priority: 3 })
        const task = yield* take(running, { model, timeout: "5s", hostname: "gpu-1", claim_timeout: "90" })
        const { claimed_at, created_at } = task
        assert.deepStrictEqual(task, {
          request_id: id,
          model,
          payload: { prompt: "a cat" },
          info: { user: "me" },
          priority: 3,
          retries: 0,
          created_at,
          claimed_at
        })
        assert.strictEqual((yield* statusOf(running, model, id)).claimed_at, claimed_at)
      }))

    it.scopedLive("an empty payload as an object", () =>
      Effect.gen(function*() {
        const running = yield* emulate()
        yield* submitted(running, { model })
        assert.deepStrictEqual((yield* take(running, { model })).payload, {})
      }))

    it.scopedLive("200 with an empty object if there is no job", () =>
      Effect.gen(function*() {
        const running = yield* emulate()
        yield* submitted(running, { model: "another/model" })
        for (
          const query of [{ model }, { model, timeout: "0s" }, { model, timeout: "20ms" }, { model, timeout: "0" }, {
            model,
            timeout: ".001s"
          }, { model, timeout: "100us" }]
        ) {
          const answer = yield* running.ask(retrieve(query))
          assert.deepStrictEqual([answer.status, answer.text], [200, "{}"])
        }
      }))

    it.scopedLive("an empty response only after the requested timeout", () =>
      Effect.gen(function*() {
        const running = yield* emulate()
        const [duration] = yield* Effect.timed(running.ask(retrieve({ model, timeout: "300ms" })))
        assert.isAtLeast(Duration.toMillis(duration), 290)
      }))

    it.scopedLive("a job that is submitted while it waits", () =>
      Effect.gen(function*() {
        const running = yield* emulate()
        const waiting = yield* Effect.fork(take(running, { model, timeout: "60s" }))
        yield* arrived(running, 1, polls)
        const id = yield* submitted(running, { model })
        assert.strictEqual((yield* Fiber.join(waiting)).request_id, id)
      }))

    it.scopedLive("a job that another worker has lost while it waits", () =>
      Effect.gen(function*() {
        const running = yield* emulate()
        const id = yield* submitted(running, { model })
        yield* take(running, { model, claim_timeout: "0.2" })
        const task = yield* take(running, { model, timeout: "60s" })
        assert.deepInclude(task, { request_id: id, retries: 1 })
      }))

    it.scopedLive("the job with the highest priority, the oldest first", () =>
      Effect.gen(function*() {
        const running = yield* emulate()
        const ids = yield* Effect.forEach(
          [0, 5, -1, 5, 0],
          (priority) => submitted(running, { model, priority })
        )
        const taken = yield* Effect.forEach(ids, () => take(running, { model }))
        assert.deepStrictEqual(taken.map(({ request_id }) => request_id), [1, 3, 0, 4, 2].map((i) => ids[i]))
      }))

    it.scopedLive("a job of its own among concurrent polls, in order of the polls", () =>
      Effect.gen(function*() {
        const running = yield* emulate()
        const waiting = []
        for (let i = 1; i <= 20; i++) {
          waiting.push(yield* Effect.fork(take(running, { model, timeout: "60s" })))
          yield* arrived(running, i, polls)
        }
        const ids: Array<string> = []
        for (let i = 0; i < 20; i++) ids.push(yield* submitted(running, { model }))
        const taken = yield* Effect.forEach(waiting, Fiber.join)
        assert.deepStrictEqual(taken.map(({ request_id }) => request_id), ids)
      }))

    it.scopedLive("no job that was canceled or cleared", () =>
      Effect.gen(function*() {
        const running = yield* emulate()
        const first = yield* submitted(running, { model })
        yield* submitted(running, { model })
        yield* running.ask(post("cancel", { model, request_id: first }))
        yield* running.ask(post("clear", { model }))
        assert.isUndefined(yield* take(running, { model }))
      }))

    it.scopedLive("jobs of a model with any name", () =>
      Effect.gen(function*() {
        const running = yield* emulate()
        for (const model of ["a b", "a/b/../c", "größe/模型 🦊", "?&=#;", "__proto__", "constructor", "%2F"]) {
          const id = yield* submitted(running, { model, payload: { model } })
          const task = yield* take(running, { model, timeout: "1s" })
          assert.deepInclude(task, { request_id: id, model, payload: { model } })
          yield* report(running, { model, request_id: id, status: "done", payload: { __proto: 1, model } })
          assert.deepStrictEqual((yield* statusOf(running, model, id)).outputs, { __proto: 1, model })
        }
      }))
  })

  describe("that has disconnected", () => {
    it.scopedLive("receives no job, and the next worker does", () =>
      Effect.gen(function*() {
        const running = yield* emulate()
        const isGone = yield* noticing(polls)
        for (const leave of ["destroy", "resetAndDestroy", "end"] as const) {
          const before = (yield* running.requests).filter(({ url }) => url.startsWith(polls)).length
          const gone = yield* connect(running.port)
          gone.resume()
          gone.write(
            `GET ${retrieve({ model, timeout: "60s" }).path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\n\r\n`
          )
          yield* arrived(running, before + 1, polls)
          const next = yield* Effect.fork(take(running, { model, timeout: "60s" }))
          yield* arrived(running, before + 2, polls)
          gone[leave]()
          yield* isGone(before + 1)
          const id = yield* submitted(running, { model })
          assert.strictEqual((yield* Fiber.join(next)).request_id, id, leave)
          const { retries, status } = yield* statusOf(running, model, id)
          assert.deepStrictEqual([status, retries], ["running", 0])
        }
      }))

    it.scopedLive("does not block others with pipelined polls", () =>
      Effect.gen(function*() {
        const running = yield* emulate()
        const isGone = yield* noticing(polls)
        const gone = yield* connect(running.port)
        // the second response follows the first, so only the close of the connection ends the second poll
        for (const other of ["another", model]) {
          const { path } = retrieve({ model: other, timeout: "60s" })
          gone.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\n\r\n`)
        }
        yield* arrived(running, 2, polls)
        gone.destroy()
        yield* isGone(1)
        const next = yield* Effect.fork(take(running, { model, timeout: "30s" }))
        yield* arrived(running, 3, polls)
        const id = yield* submitted(running, { model })
        assert.strictEqual((yield* Fiber.join(next))?.request_id, id)
      }))

    it.scopedLive("leaves the job for a later poll", () =>
      Effect.gen(function*() {
        const running = yield* emulate()
        const isGone = yield* noticing(polls)
        const controller = new AbortController()
        const settings = { origin: running.origin, model }
        const gone = OutsideWorker.retrieve(settings, { timeout: "60s", signal: controller.signal }).catch(() => "gone")
        yield* arrived(running, 1, polls)
        controller.abort()
        assert.strictEqual(yield* Effect.promise(() => gone), "gone")
        yield* isGone(1)
        const id = yield* submitted(running, { model })
        assert.strictEqual((yield* statusOf(running, model, id)).status, "pending")
        assert.strictEqual((yield* take(running, { model })).request_id, id)
      }))
  })

  describe("reports", () => {
    it.scopedLive("heartbeats with info, which is merged", () =>
      Effect.gen(function*() {
        const running = yield* emulate()
        const id = yield* submitted(running, { model, info: { user: "me", progress: 0 } })
        yield* take(running, { model })
        yield* report(running, { model, request_id: id, status: "running", payload: {}, info: { progress: 0.4 } })
        yield* report(running, {
          model,
          request_id: id,
          status: "running",
          payload: { ignored: 1 },
          info: { step: "b" }
        })
        yield* report(running, { model, request_id: id, status: "running", payload: null, info: null })
        const status = yield* statusOf(running, model, id)
        assert.deepStrictEqual(status.info, { user: "me", progress: 0.4, step: "b" })
        assert.notProperty(status, "outputs")
        assert.strictEqual(status.status, "running")
      }))

    it.scopedLive("heartbeats, which keep the job beyond the claim timeout", () =>
      Effect.gen(function*() {
        const time = new ManualClock()
        const running = yield* emulate({}, time)
        const id = yield* submitted(running, { model })
        yield* take(running, { model, claim_timeout: "1" })
        for (let i = 0; i < 8; i++) {
          yield* time.advance("900 millis")
          yield* report(running, { model, request_id: id, status: "running" })
        }
        assert.deepInclude(yield* statusOf(running, model, id), { status: "running", retries: 0 })
      }))

    it.scopedLive("the end of the job, with outputs", () =>
      Effect.gen(function*() {
        const running = yield* emulate()
        for (const status of ["done", "failed"] as const) {
          const id = yield* submitted(running, { model })
          yield* take(running, { model })
          const info = { error: "CUDA out of memory" }
          yield* report(running, { model, request_id: id, status, payload: { url: "x" }, info })
          assert.deepInclude(yield* statusOf(running, model, id), { status, outputs: { url: "x" }, info })
          const other = yield* submitted(running, { model })
          yield* take(running, { model })
          yield* report(running, { model, request_id: other, status, payload: {} })
          assert.deepInclude(yield* statusOf(running, model, other), { status, inputs: {}, outputs: {} })
        }
      }))

    it.scopedLive("late statuses, which get a 200 and change nothing", () =>
      Effect.gen(function*() {
        const running = yield* emulate()
        const everything = (request_id: string) =>
          Effect.forEach(["running", "done", "failed"], (status) =>
            report(running, { model, request_id, status, payload: { late: true }, info: { late: true } }))
        const ids: Array<string> = []
        // a canceled job, a done one, a failed one, a requeued one, and an unclaimed one
        ids.push(yield* submitted(running, { model }))
        yield* running.ask(post("cancel", { model, request_id: ids[0] }))
        for (const status of ["done", "failed"]) {
          ids.push(yield* submitted(running, { model }))
          yield* take(running, { model })
          yield* report(running, { model, request_id: ids.at(-1), status, payload: {} })
        }
        ids.push(yield* submitted(running, { model }))
        yield* take(running, { model, claim_timeout: "0.05" })
        yield* until(running, model, ids.at(-1)!, "pending")
        ids.push(yield* submitted(running, { model }))
        for (const id of ids) {
          const before = yield* statusOf(running, model, id)
          yield* everything(id)
          assert.deepStrictEqual(yield* statusOf(running, model, id), before)
        }
      }))

    it.scopedLive("the status of an unknown job: 404", () =>
      Effect.gen(function*() {
        const running = yield* emulate()
        const id = yield* submitted(running, { model })
        for (const [model_, request_id] of [[model, unknownId], ["another/model", id], ["__proto__", "toString"]]) {
          const answer = yield* running.ask(update({ model: model_, request_id, status: "done", payload: {} }))
          assert.strictEqual(refused(answer, 404).code, "job_not_found")
        }
        assert.strictEqual((yield* statusOf(running, model, id)).status, "pending")
      }))
  })

  describe("with an invalid request gets a 400 that describes the problem", () => {
    const wrong: ReadonlyArray<readonly [Request, param: string | undefined, message: RegExp]> = [
      [retrieve({}), "model", /missing/],
      [retrieve({ model: " " }), "model", /blank/],
      ...["", "soon", "-1s", "5", "5x", "1e3s", "s", "5s ", "1s-2s", "Infinity"]
        .filter((timeout) => timeout !== "5")
        .map((timeout) => [retrieve({ model, timeout }), "timeout", /not a time/] as const),
      ...["", "0", "-1", "1h", "2592000.01", "2592001", "1e400", "NaN", "0.0001", "1m30", ".5"].map((claim_timeout) =>
        [retrieve({ model, claim_timeout }), "claim_timeout", /not a number of seconds/] as const
      ),
      [update([]), undefined, /the body must be a JSON object/],
      [update({ request_id: "1", status: "done", payload: {} }), "model", /missing/],
      [update({ model, status: "done", payload: {} }), "request_id", /missing/],
      [update({ model, request_id: "1", payload: {} }), "status", /missing/],
      [
        update({ model, request_id: "1", status: "canceled", payload: {} }),
        "status",
        /^status: must be running, done or failed$/
      ],
      [update({ model, request_id: "1", status: "done", payload: [] }), "payload", /payload/],
      [update({ model, request_id: "1", status: "done", payload: {}, info: "x" }), "info", /info/],
      [update("{"), undefined, /not JSON/]
    ]
    it.scopedLive("and claims nothing", () =>
      Effect.gen(function*() {
        const running = yield* emulate()
        const id = yield* submitted(running, { model })
        for (const [request, param, message] of wrong) {
          const error = refused(yield* running.ask(request), 400)
          assert.strictEqual(error.param, param, request.path)
          assert.match(error.message, message, request.path)
        }
        for (const query of [{}, { model }]) {
          assert.strictEqual((yield* running.ask({ ...retrieve(query as {}), method: "HEAD" })).status, 405)
        }
        assert.strictEqual((yield* statusOf(running, model, id)).status, "pending")
      }))

    it.scopedLive("but claim timeouts of thirty days and of a millisecond are valid", () =>
      Effect.gen(function*() {
        const running = yield* emulate()
        const long = yield* submitted(running, { model })
        assert.strictEqual((yield* take(running, { model, claim_timeout: "2592000" })).request_id, long)
        // a poll that waits for this claim to expire ends at its own timeout
        assert.isUndefined(yield* take(running, { model, timeout: "50ms" }))
        assert.strictEqual((yield* statusOf(running, model, long)).status, "running")
        const short = yield* submitted(running, { model })
        assert.strictEqual((yield* take(running, { model, claim_timeout: "0.001" })).request_id, short)
        yield* until(running, model, short, "pending")
      }))
  })

  // ---------------------------------------------------------------------------
  // complete jobs
  // ---------------------------------------------------------------------------

  describe("runs", () => {
    it.scopedLive("jobs from claim to end", () =>
      Effect.gen(function*() {
        const running = yield* emulate()
        const stop = yield* working(running, async ({ payload }, heartbeat) => {
          await heartbeat({ progress: 0.5 })
          if (payload["fail"] === true) throw new Error("CUDA out of memory")
          return { sum: Number(payload["a"]) + Number(payload["b"]) }
        })
        const good = yield* submitted(running, { model, payload: { a: 1, b: 2 } })
        const bad = yield* submitted(running, { model, payload: { fail: true } })
        assert.deepInclude(yield* until(running, model, good, "done"), {
          outputs: { sum: 3 },
          info: { progress: 0.5 },
          retries: 0
        })
        assert.deepInclude(yield* until(running, model, bad, "failed"), {
          info: { progress: 0.5, error: "CUDA out of memory" },
          retries: 0
        })
        assert.strictEqual(yield* stop, 2)
      }))

    it.scopedLive("a job again after another worker stopped responding", () =>
      Effect.gen(function*() {
        const running = yield* emulate()
        const id = yield* submitted(running, { model })
        const settings = { origin: running.origin, model, claimTimeout: 0.2 }
        const task = yield* Effect.promise(() => OutsideWorker.retrieve(settings))
        yield* Effect.promise(() => OutsideWorker.report(settings, task!, "running", { info: { progress: 0.9 } }))
        const stop = yield* working(running, async ({ retries }) => ({ retries }))
        const status = yield* until(running, model, id, "done")
        assert.deepInclude(status, { retries: 1, outputs: { retries: 1 }, info: { progress: 0.9 } })
        // a late report of the first worker
        yield* Effect.promise(() => OutsideWorker.report(settings, task!, "failed", { info: { error: "late" } }))
        assert.deepStrictEqual(yield* statusOf(running, model, id), status)
        assert.strictEqual(yield* stop, 1)
      }))

    it.scopedLive("a job at most four times: it fails after four lost workers", () =>
      Effect.gen(function*() {
        const running = yield* emulate()
        const id = yield* submitted(running, { model })
        for (let retries = 0; retries < 4; retries++) {
          const task = yield* take(running, { model, timeout: "60s", claim_timeout: "0.05" })
          assert.deepInclude(task, { request_id: id, retries })
        }
        assert.deepInclude(yield* until(running, model, id, "failed"), { retries: 3 })
        assert.isUndefined(yield* take(running, { model }))
      }))

    it.scopedLive("a hundred jobs with ten workers, each once", () =>
      Effect.gen(function*() {
        const running = yield* emulate()
        const done: Array<string> = []
        const stops = yield* Effect.forEach(Array.from({ length: 10 }), () =>
          working(running, async ({ request_id }) => {
            done.push(request_id)
            return {}
          }))
        const ids = yield* Effect.all(Array.from({ length: 100 }, () => submitted(running, { model })), {
          concurrency: 10
        })
        for (const id of ids) yield* until(running, model, id, "done")
        const counts = yield* Effect.all(stops, { concurrency: "unbounded" })
        assert.strictEqual(counts.reduce((sum, n) => sum + n, 0), 100)
        assert.sameMembers(done, ids)
      }))

    it.scopedLive("jobs beside simulated workers", () =>
      Effect.gen(function*() {
        const running = yield* emulate({
          workers: { model: "simulated", script: Worker.always(Worker.finish("10 millis", { by: "simulation" })) }
        })
        const stop = yield* working(running, async () => ({ by: "worker" }))
        const [mine, other] = yield* Effect.all([
          submitted(running, { model }),
          submitted(running, { model: "simulated" })
        ])
        assert.deepStrictEqual((yield* until(running, model, mine!, "done")).outputs, { by: "worker" })
        assert.deepStrictEqual((yield* until(running, "simulated", other!, "done")).outputs, { by: "simulation" })
        assert.strictEqual(yield* stop, 1)
      }))
  })

  describe("a job that has ended", () => {
    it.scopedLive("is forgotten after its retention", () =>
      Effect.gen(function*() {
        const time = new ManualClock()
        const running = yield* emulate({ retention: "150 millis" }, time)
        const [ended, waiting] = yield* Effect.all([submitted(running, { model }), submitted(running, { model })])
        yield* take(running, { model })
        yield* report(running, { model, request_id: ended, status: "done", payload: {} })
        const status = get("status", { model, request_id: ended! })
        yield* time.advance("149 millis")
        assert.strictEqual((yield* running.ask(status)).status, 200)
        yield* time.advance("1 millis")
        refused(yield* running.ask(status), 404)
        refused(yield* running.ask(update({ model, request_id: ended, status: "done", payload: {} })), 404)
        refused(yield* running.ask(post("cancel", { model, request_id: ended })), 404)
        assert.strictEqual((yield* statusOf(running, model, waiting!)).status, "pending")
      }))
  })
})
