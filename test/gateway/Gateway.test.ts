import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Chunk from "effect/Chunk"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FastCheck from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Gateway, GatewayAccess } from "../../src/gateway/index.js"
import { GatewayOutput } from "../../src/gateway/internal/output.js"
import { Cadence, Job, JobQueue, JobWatcher, QueueError, Transition, WatchPolicy } from "../../src/index.js"
import { Arbitraries, Fault, TestJobQueue, Worker } from "../../src/testing/index.js"
import {
  type Answer,
  type App,
  follow,
  get,
  getUntil,
  type Headers,
  make,
  path,
  readEvents,
  secret,
  type ServerSentEvent,
  submit,
  test
} from "../fixtures/gateway.js"
import { job as someJob, model } from "../fixtures/job.js"
import { runs } from "../fixtures/runs.js"

describe("GET /events", () => {
  it.effect("sends transitions with their cursors, heartbeats and the end", () =>
    test(Effect.gen(function*() {
      const job = yield* submit
      const app = yield* make({ heartbeat: "20 seconds" })
      const { headers, status, text } = yield* get(app, path("events", job))
      assert.strictEqual(status, 200)
      assert.strictEqual(headers["cache-control"], "no-store, no-transform")
      assert.strictEqual(headers["x-accel-buffering"], "no")
      assert.match(text, /^retry: [1-5]\d{3}\n\nid: /)
      const events = readEvents(text)
      assert.deepStrictEqual(events.map(({ event }) => event), ["Queued", "Claimed", "Progressed", "Completed", "end"])
      assert.deepStrictEqual(events.map(({ id }) => id), [
        ...events.slice(0, -1).map(({ data }) => data.cursor),
        undefined
      ])
      assert.strictEqual(text.match(/^: heartbeat$/gm)?.length, 2) // the job takes 42 seconds
      for (const { data } of events) assert.notProperty(data, "snapshot")
      assert.deepStrictEqual(events.at(-2)?.data.outputs, { video_url: "https://example.com/cat.mp4" })
      assert.strictEqual(text.split("cat.mp4").length, 2, "the outputs are sent once")
    })))

  it.effect("sends a line of JSON each, if the client requests that", () =>
    test(Effect.gen(function*() {
      const job = yield* submit
      const app = yield* make({ heartbeat: "20 seconds" })
      const { headers, text } = yield* get(app, path("events", job), { accept: "application/x-ndjson" })
      assert.strictEqual(headers["content-type"], "application/x-ndjson")
      const tags = text.trimEnd().split("\n").map((line) => JSON.parse(line)._tag)
      assert.deepStrictEqual(tags.filter((tag) => tag !== "Heartbeat"), [
        ...["Queued", "Claimed", "Progressed", "Completed", "End"]
      ])
      assert.strictEqual(tags.length, 8)
    })))

  it.effect("sends no endless heartbeats, for any interval", () =>
    test(Effect.gen(function*() {
      for (const heartbeat of [0, -1, NaN]) {
        const app = yield* make({ heartbeat })
        const { text } = yield* get(app, path("events", yield* submit))
        assert.isAtMost(text.match(/^: heartbeat$/gm)?.length ?? 0, 60_000 / 50)
      }
    })))

  it.effect("sends heartbeats to a client that has taken everything, for as long as it is there", () =>
    test(Effect.gen(function*() {
      const job = yield* submit
      for (const isIdle of [true, false]) {
        let heartbeats = 0
        const app = Effect.provideService(
          yield* make({ heartbeat: "1 second" }),
          GatewayOutput,
          (_, write) =>
            Effect.as(
              Effect.forkScoped(write({
                write: (bytes) => {
                  if (new TextDecoder().decode(bytes) === ": heartbeat\n\n") heartbeats++
                },
                isIdle,
                room: Effect.void
              })),
              Stream.never
            )
        )
        yield* Effect.timeoutOption(get(app, path("events", job)), "3500 millis")
        yield* Effect.sleep("1 minute")
        assert.strictEqual(heartbeats, isIdle ? 3 : 0)
      }
    })))

  it.effect("has nothing for a client that has seen the end", () =>
    test(Effect.gen(function*() {
      const job = yield* submit
      const app = yield* make()
      const { events, last } = yield* follow((headers) => get(app, path("events", job), headers))
      assert.strictEqual(events.length, 5)
      assert.deepStrictEqual([last.status, last.text], [204, ""])
      const from = events.at(-2)?.id ?? assert.fail()
      const first = events[0]?.id ?? assert.fail()
      assert.strictEqual((yield* get(app, path("events", job, { from }))).status, 204)
      assert.strictEqual((yield* get(app, path("events", job, { from: first }), { "last-event-id": from })).status, 204)
      const { text } = yield* get(app, path("events", job, { from: first }))
      // progress that the polls missed is not known any more
      assert.deepStrictEqual(readEvents(text).map(({ event }) => event), ["Claimed", "Completed", "end"])
    })))

  it.effect("reports a watch that fails, and responds to the next request with the error", () =>
    test(Effect.gen(function*() {
      const job = yield* submit
      const app = yield* make()
      yield* Effect.fork(Effect.delay(TestJobQueue.inject(Fault.unauthorized), "20 seconds"))
      const { events, last } = yield* follow((headers) => get(app, path("events", job), headers))
      assert.deepStrictEqual(events.map(({ event }) => event), [
        "Queued",
        "Claimed",
        "Progressed",
        "watch-failed",
        "end"
      ])
      const { data, id } = events.at(-2) ?? assert.fail()
      assert.isUndefined(id)
      assert.strictEqual(data.error._tag, "AccessDenied")
      assert.include(data.error.message, "does not accept this token")
      assert.deepStrictEqual([last.status, JSON.parse(last.text)._tag], [401, "AccessDenied"])
    })))

  it.effect("reports troubles, which pass", () =>
    test(Effect.gen(function*() {
      const job = yield* submit
      const app = yield* make()
      yield* TestJobQueue.inject(Fault.unavailable().pipe(Fault.during("0 seconds", "1 minute")))
      const begun = yield* DateTime.now
      // a trouble begins the stream
      yield* getUntil(app, path("events", job), (text) => text.includes("Unavailable"))
      assert.isBelow(DateTime.distance(begun, yield* DateTime.now), 5_000)
      const { text } = yield* get(app, path("events", job))
      assert.isAtLeast(DateTime.distance(begun, yield* DateTime.now), 60_000)
      const [first, ...others] = readEvents(text).filter(({ event }) => event !== "Trouble")
      assert.deepStrictEqual([first?.event, first?.id], ["Recovered", undefined])
      // the progress came and went meanwhile
      assert.deepStrictEqual(others.map(({ event }) => event), ["Queued", "Claimed", "Completed", "end"])
      const trouble = readEvents(text)[0] ?? assert.fail()
      assert.deepStrictEqual([trouble.event, trouble.id, trouble.data.error._tag], [
        "Trouble",
        undefined,
        "Unavailable"
      ])
    })))

  it.effect("waits for a new job that a replica does not know yet, and not longer", () =>
    test(Effect.gen(function*() {
      const app = yield* make()
      const begun = yield* DateTime.now
      const { status, text } = yield* get(app, path("events", someJob))
      assert.deepStrictEqual([status, JSON.parse(text)._tag], [404, "JobNotFound"])
      assert.strictEqual(DateTime.distance(begun, yield* DateTime.now), 5_000)
    })))

  it.effect("ends the watch of a client that is gone", () =>
    test(Effect.gen(function*() {
      const job = yield* submit
      const app = yield* make()
      const request = yield* Effect.fork(get(app, path("events", job)))
      yield* Effect.sleep("20 seconds")
      yield* Fiber.interrupt(request)
      yield* Effect.sleep("1 hour")
      yield* TestJobQueue.expectNoCallsAfter("20 seconds")
    })))

  it.effect("ends at once if its watcher has stopped", () =>
    test(Effect.gen(function*() {
      const scope = yield* Scope.make()
      const watcher = yield* Scope.extend(JobWatcher.make(), scope)
      yield* Scope.close(scope, Exit.void)
      const app = Effect.provideService(Gateway.httpApp(), JobWatcher.JobWatcher, watcher)
      const one = yield* Effect.exit(get(app, path("events", someJob)))
      assert.isTrue(Exit.isInterrupted(one))
      const { text } = yield* get(app, path("events", [someJob, Job.ref(model, "another")]))
      assert.deepStrictEqual(readEvents(text), [])
    })))

  it.effect("sends the transitions of several jobs, and reports those that fail", () =>
    test(Effect.gen(function*() {
      const jobs = [yield* submit, someJob, yield* Effect.delay(submit, "10 seconds")]
      const app = yield* make()
      const { text } = yield* get(app, path("events", jobs))
      const events = readEvents(text)
      for (const job of [jobs[0], jobs[2]]) {
        assert.deepStrictEqual(
          events.filter(({ data }) => data.job?.requestId === job?.requestId && data._tag !== "Trouble")
            .map(({ event }) => event),
          ["Queued", "Claimed", "Progressed", "Completed"]
        )
      }
      const failed = events.filter(({ event }) => event === "watch-failed")
      assert.deepStrictEqual(failed.map(({ data }) => [data.job, data.error._tag]), [[{ ...someJob }, "JobNotFound"]])
      assert.strictEqual(events.at(-1)?.event, "end")
      // each id has the cursors of all
      const { id = "" } = events.filter(({ id }) => id !== undefined).at(-1) ?? assert.fail()
      const [first, second, third] = id.split(",")
      assert.strictEqual(second, "")
      assert.strictEqual(
        (yield* get(app, path("events", [jobs[2]!, jobs[0]!], { from: `${third},${first}` }))).status,
        204
      )
      const answer = yield* get(app, path("events", [jobs[0]!, jobs[2]!], { from: `${first},` }))
      assert.deepStrictEqual(readEvents(answer.text).map(({ data }) => [data._tag, data.job?.requestId]), [
        ...["Queued", "Claimed", "Completed"].map((tag) => [tag, jobs[2]?.requestId]),
        ["End", undefined]
      ])
    })))

  it.effect("is about one job if it is named twice, also in two spellings", () =>
    test(Effect.gen(function*() {
      const app = yield* make()
      const ask = (path: string) => Effect.flatten(Effect.timeoutOption(get(app, path), "1 minute"))
      const once = yield* ask("/events?job=m/a%252Fb")
      assert.strictEqual(once.status, 404)
      assert.deepStrictEqual(yield* ask("/events?job=m/a%252Fb&job=m/a%252fb&job=m/a%252Fb"), once)
    })))

  it.effect("is about any job: slashes, other scripts, and what has a meaning in a URL", () =>
    test(Effect.gen(function*() {
      const job = yield* Effect.orDie(JobQueue.submit({ model: "组织/模型/v1.5 ü+&=%?#", payload: {} }))
      const app = yield* make()
      const events = readEvents((yield* get(app, path("events", job))).text)
      assert.deepStrictEqual(events.at(-2)?.data.job, { ...job })
      assert.strictEqual(JSON.parse((yield* get(app, path("status", job))).text).model, job.model)
      const unknown = Job.ref("a/b//c", "ид+&=%?#,é")
      const { status, text } = yield* get(app, path("status", unknown))
      assert.deepStrictEqual([status, JSON.parse(text).job], [404, { ...unknown }])
    })))

  it.effect("polls a job for a hundred clients as for one", () =>
    Effect.gen(function*() {
      const pollsFor = (clients: number) =>
        test(Effect.gen(function*() {
          const job = yield* submit
          const app = yield* make()
          const request = get(app, path("events", job))
          const answers = yield* Effect.all(Array.from({ length: clients }, () => request), {
            concurrency: "unbounded"
          })
          for (const { text } of answers) assert.strictEqual(readEvents(text).length, 5)
          return (yield* TestJobQueue.counts).status
        }))
      const one = yield* pollsFor(1)
      assert.isAbove(one, 5)
      assert.strictEqual(yield* pollsFor(100), one)
    }))
})

it.effect("a client that does not read costs a buffer of bounded size, and then sees the latest state", () =>
  test(Effect.gen(function*() {
    const note = "x".repeat(100_000)
    let asked = 0
    // a job that progresses as often as it is polled
    const watch: JobWatcher.Watch = { job: someJob, cursor: undefined }
    const at = DateTime.unsafeMake(0)
    const next = Effect.zipRight(
      Effect.yieldNow(),
      Effect.sync(() => {
        asked++
        const status = Job.Running({ job: someJob, info: { progress: asked / 1_000, note } })
        return Chunk.of<JobWatcher.Notice>({ _tag: "Sample", watch, status, at })
      })
    )
    const watcher = JobWatcher.JobWatcher.of({
      subscribe: () => Effect.succeed({ add: () => Effect.succeed(true), next }),
      pollingEvents: Stream.empty
    })
    const app = Effect.provideService(Gateway.httpApp({ view: "full" }), JobWatcher.JobWatcher, watcher)
    const response = yield* Effect.provideService(
      app,
      HttpServerRequest.HttpServerRequest,
      HttpServerRequest.fromWeb(new Request(`http://gateway${path("events", someJob)}`))
    )
    yield* Effect.repeatN(Effect.yieldNow(), 1_000)
    assert.isAtMost(asked, 3)
    assert(response.body._tag === "Stream")
    const chunks = yield* Stream.runCollect(Stream.take(Stream.chunks(response.body.stream), 20))
    assert.isAtLeast(asked, 15)
    for (const chunk of chunks) {
      assert.isAtMost(Chunk.reduce(chunk, 0, (size, { length }) => size + length), 1024 * 1024)
    }
  })))

/** The transitions that a client has seen, with snapshots to hold them against the history. */
const transitionsOf = (events: ReadonlyArray<ServerSentEvent>) =>
  events.filter(({ id }) => id !== undefined).map(({ data }) => Schema.decodeUnknownSync(Transition.Transition)(data))

/** Progress that was seen is of the history of the job, in its order. */
const expectProgressInOrder = (job: Job.JobRef, seen: ReadonlyArray<Transition.Transition>) =>
  Effect.map(TestJobQueue.transitions(job), (history) => {
    const printed = (transitions: ReadonlyArray<Transition.Transition>) =>
      transitions.map(({ attempt, snapshot }) => JSON.stringify([attempt, snapshot.info]))
    const left = printed(history)
    for (const progress of printed(seen.filter(({ _tag }) => _tag === "Progressed"))) {
      const found = left.indexOf(progress)
      assert.isAtLeast(found, 0, `${progress} comes again, or after what came later`)
      left.splice(0, found + 1)
    }
  })

it("law: clients see the history of a job without gap and repeat, with any failures of connections and gateways", async () => {
  let cut = 0
  const cadence = FastCheck.constantFrom<Duration.DurationInput>("100 millis", "1 second", "20 seconds")
  // progress that replicas see at different times
  const steady: FastCheck.Arbitrary<Worker.Pool> = FastCheck.record({
    count: FastCheck.integer({ min: 30, max: 100 }),
    pause: FastCheck.integer({ min: 500, max: 2_000 })
  }).map(({ count, pause }) => ({
    script: Worker.always(...Worker.progressInSteps(count, Duration.millis(pause)), Worker.finish("1 second"))
  }))
  await FastCheck.assert(
    FastCheck.asyncProperty(
      FastCheck.oneof(Arbitraries.pool, steady),
      FastCheck.integer({ min: 1, max: 3 }),
      FastCheck.array(FastCheck.nat(2_500), { maxLength: 12 }),
      FastCheck.tuple(cadence, cadence),
      FastCheck.nat(40_000).map(Duration.millis),
      (workers, count, cuts, cadences, delay) =>
        test(
          Effect.gen(function*() {
            const jobs = yield* Effect.replicateEffect(submit, count)
            // two replicas, in turn; another client of each keeps its pollers, so that one lags behind the other
            const apps = yield* Effect.forEach(cadences, (cadence) =>
              Effect.map(make({ view: "full" }), (app) =>
                Effect.provideService(app, WatchPolicy.Default, {
                  ...WatchPolicy.defaultPolicy,
                  cadence: Cadence.fixed(cadence)
                })))
            for (const app of apps) {
              yield* Effect.fork(get(app, path("events", jobs)))
            }
            yield* Effect.sleep(delay)
            const { events, last } = yield* follow((headers, nth) =>
              get(apps[nth % 2] ?? assert.fail(), path("events", jobs), headers, cuts[nth])
            )
            cut += cuts.length
            assert.strictEqual(last.status, 204)
            const transitions = transitionsOf(events)
            for (const job of jobs) {
              const ofJob = transitions.filter((transition) =>
                transition.job.requestId === job.requestId
              )
              yield* TestJobQueue.expectMatchesHistory(job, ofJob)
              yield* expectProgressInOrder(job, ofJob)
            }
          }),
          { workers }
        ).pipe(Effect.runPromise)
    ),
    { numRuns: runs(30, 60) }
  )
  assert.isAbove(cut, 50)
})

describe("GET /status", () => {
  const json = ({ text }: Answer) => JSON.parse(text)

  it.effect("returns the latest snapshot of the shared poller", () =>
    test(Effect.gen(function*() {
      const job = yield* submit
      const app = yield* make()
      const answer = yield* get(app, path("status", job))
      assert.strictEqual(answer.status, 200)
      assert.strictEqual(json(answer).status, "pending")
      assert.notProperty(json(answer), "inputs")
      assert.strictEqual(answer.headers["age"], "0")
      yield* get(app, path("status", job))
      yield* TestJobQueue.expectPolls(job, 1)
      yield* Effect.sleep("1 minute")
      const done = json(yield* get(app, path("status", job)))
      assert.deepStrictEqual([done.status, done.outputs], ["done", { video_url: "https://example.com/cat.mp4" }])
      yield* TestJobQueue.expectPolls(job, 2)
    })))

  it.effect("reports the age of the snapshot, in seconds", () =>
    test(Effect.gen(function*() {
      const job = yield* submit
      const app = Effect.provideService(yield* make(), WatchPolicy.Default, {
        ...WatchPolicy.defaultPolicy,
        cadence: Cadence.fixed("10 seconds")
      })
      yield* Effect.fork(get(app, path("events", job)))
      const age = Effect.map(get(app, path("status", job)), ({ headers }) => Number(headers["age"]))
      yield* Effect.sleep("5 seconds")
      const before = yield* age
      // no poll yet
      yield* Effect.sleep("2 seconds")
      assert.strictEqual(yield* age, before + 2)
    })))

  it.effect("waits for news after a cursor, as long as it may", () =>
    test(Effect.gen(function*() {
      const job = yield* submit
      const app = yield* make()
      const since = yield* DateTime.now
      const at = Effect.map(DateTime.now, (now) => DateTime.distance(since, now))
      const cursors = new Map<string, string>()
      for (const { data, id = "" } of readEvents((yield* get(app, path("events", job))).text)) {
        cursors.set(data._tag, id)
      }
      const other = yield* submit
      const snapshot = json(yield* get(app, path("status", other)))
      const { cursor } = yield* Transition.derive(Option.none(), Schema.decodeUnknownSync(Job.JobStatus)(snapshot), {
        observedAt: since
      })
      const from = Transition.formatCursor(cursor)
      const begun = yield* at
      // without a wait, the response comes at once
      assert.strictEqual((yield* get(app, path("status", other, { from }))).status, 204)
      assert.strictEqual(yield* at, begun)
      // the job is claimed after two seconds
      const claimed = yield* get(app, path("status", other, { from, wait: 10 }))
      assert.strictEqual(json(claimed).status, "running")
      assert.isAtLeast(yield* at, begun + 2_000)
      assert.isAtMost(yield* at, begun + 5_000)
      // from its progress on there is no news for more than 20 seconds
      yield* Effect.sleep("6 seconds")
      const running = json(yield* get(app, path("status", other)))
      const progressed = yield* Transition.derive(
        Option.none(),
        Schema.decodeUnknownSync(Job.JobStatus)(running),
        { observedAt: since }
      )
      const before = yield* at
      const later = yield* get(
        app,
        path("status", other, { from: Transition.formatCursor(progressed.cursor), wait: 20 })
      )
      assert.deepStrictEqual([later.status, later.text], [204, ""])
      assert.strictEqual(yield* at, before + 20_000)
      // the end is the end
      const end = cursors.get("Completed") ?? assert.fail()
      assert.strictEqual((yield* get(app, path("status", job, { from: end, wait: 10 }))).status, 204)
      assert.strictEqual(yield* at, before + 20_000)
    })))

  it.effect("waits a minute at most", () =>
    test(
      Effect.gen(function*() {
        const job = yield* submit
        const app = yield* make()
        const { cursor } = yield* Transition.derive(Option.none(), yield* JobQueue.status(job), {
          observedAt: yield* DateTime.now
        })
        const begun = yield* DateTime.now
        const from = Transition.formatCursor(cursor)
        assert.strictEqual((yield* get(app, path("status", job, { from, wait: 600 }))).status, 204)
        assert.strictEqual(DateTime.distance(begun, yield* DateTime.now), 60_000)
      }),
      { workers: [] }
    ))

  it.effect("returns the error of the poll, and after a wait that of the last one", () =>
    test(Effect.gen(function*() {
      const job = yield* submit
      const app = yield* make()
      yield* TestJobQueue.inject(Fault.rateLimited("7 seconds"))
      const limited = yield* get(app, path("status", job))
      assert.deepStrictEqual([limited.status, json(limited)._tag], [503, "RateLimited"])
      assert.strictEqual(limited.headers["retry-after"], "7")
      const waited = yield* get(app, path("status", job, { wait: 30 }))
      assert.deepStrictEqual([waited.status, json(waited)._tag], [503, "RateLimited"])
    })))

  it.effect("returns a snapshot of an unknown state: the client decides what it means", () =>
    test(Effect.gen(function*() {
      const job = yield* submit
      const app = yield* make()
      yield* TestJobQueue.inject(Fault.unknownStatus("paused"))
      assert.strictEqual(json(yield* get(app, path("status", job))).status, "paused")
    })))
})

describe("a rejected request", () => {
  const cursor = (job: Job.JobRef) =>
    Effect.map(
      Transition.derive(Option.none(), Job.Pending({ job }), { observedAt: DateTime.unsafeMake(0) }),
      ({ cursor }) => Transition.formatCursor(cursor)
    )

  it.effect("has a bad query, a bad cursor, or the cursor of another job", () =>
    test(Effect.gen(function*() {
      const app = yield* make()
      const other = yield* cursor(Job.ref(model, "another"))
      const own = yield* cursor(someJob)
      const job = encodeURIComponent(Job.format(someJob))
      const cases: ReadonlyArray<readonly [query: string, headers: Headers, status: number, tag: string]> = [
        ["", {}, 400, "InvalidRequest"],
        ["?job=", {}, 400, "InvalidRequest"],
        ["?job=nothing", {}, 400, "InvalidRequest"],
        ["?job=/id", {}, 400, "InvalidRequest"],
        ["?job=model/", {}, 400, "InvalidRequest"],
        [`?job=${job}&job=nothing`, {}, 400, "InvalidRequest"],
        [`?job=${"m".repeat(10_000)}/1`, {}, 400, "InvalidRequest"],
        [`?job=${job}&wait=soon`, {}, 400, "InvalidRequest"],
        [`?job=${job}&wait=-1`, {}, 400, "InvalidRequest"],
        [`?job=${job}&wait=`, {}, 400, "InvalidRequest"],
        [`?job=${job}&from=`, {}, 400, "InvalidCursor"],
        [`?job=${job}&from=${own}x`, {}, 400, "InvalidCursor"],
        [`?job=${job}&from=${other}`, {}, 409, "JobMismatch"],
        [`?job=${job}`, { "last-event-id": "x" }, 400, "InvalidCursor"],
        [`?job=${job}&from=${own}`, { "last-event-id": other }, 409, "JobMismatch"]
      ]
      const jobs = (count: number) =>
        Array.from({ length: count }, (_, n) => `job=${encodeURIComponent(`${model}/${n}`)}`).join("&")
      for (
        const url of [
          `/events?${jobs(21)}`,
          `/events?${jobs(10_000)}`,
          `/status?${jobs(2)}`,
          `/events?${jobs(2)}&from=,,`,
          `/events?${jobs(2)}&from=${own}`
        ]
      ) {
        const answer = yield* get(app, url)
        assert.deepStrictEqual([url, answer.status, JSON.parse(answer.text)._tag], [url, 400, "InvalidRequest"])
      }
      const mixed = yield* get(app, `/events?${jobs(2)}&from=,${own}`)
      assert.deepStrictEqual([mixed.status, JSON.parse(mixed.text)._tag], [409, "JobMismatch"])
      for (const route of ["/events", "/status"]) {
        for (const [query, headers, status, tag] of cases) {
          const answer = yield* get(app, `${route}${query}`, headers)
          const { _tag, message } = JSON.parse(answer.text)
          assert.deepStrictEqual([query, answer.status, _tag], [query, status, tag])
          assert.isNotEmpty(message)
        }
      }
      assert.strictEqual((yield* TestJobQueue.counts).status, 0)
    })))

  it.effect("has another path, or another method", () =>
    test(Effect.gen(function*() {
      const app = yield* make()
      for (const url of ["/", "/event", "/events/", "/status/x", "/__proto__"]) {
        const answer = yield* get(app, url)
        assert.deepStrictEqual([answer.status, JSON.parse(answer.text)._tag], [404, "RouteNotFound"])
      }
      for (const method of ["POST", "DELETE", "HEAD"]) {
        const answer = yield* get(app, path("events", someJob), {}, Infinity, method)
        assert.deepStrictEqual([answer.status, JSON.parse(answer.text)._tag], [405, "MethodNotAllowed"])
        assert.strictEqual(answer.headers["allow"], "GET")
      }
    })))

  it.effect("exceeds the requests that are allowed at a time", () =>
    test(Effect.gen(function*() {
      const job = yield* submit
      const app = yield* make({ maxConnections: 2 })
      const request = get(app, path("events", job))
      const first = yield* Effect.fork(request)
      const second = yield* Effect.fork(request)
      yield* Effect.sleep("1 second")
      const refused = yield* request
      assert.deepStrictEqual([refused.status, JSON.parse(refused.text)._tag], [503, "TooManyConnections"])
      assert.match(refused.headers["retry-after"] ?? "", /^[1-5]$/)
      yield* Fiber.interrupt(first)
      assert.strictEqual((yield* request).status, 200)
      assert.strictEqual((yield* Fiber.join(second)).status, 200)
      assert.strictEqual((yield* request).status, 200)
    })))

  it.effect("exceeds them in no interleaving with others", () =>
    test(Effect.gen(function*() {
      for (const limit of [{ maxConnections: 1 }, { maxConnectionsPerClient: 1 }]) {
        const job = yield* submit
        for (let ops = 10; ops < 40; ops++) {
          const app = Effect.updateService(
            yield* make(limit),
            HttpServerRequest.HttpServerRequest,
            (request) => request.modify({ remoteAddress: "10.0.0.1" })
          )
          const request = Effect.withMaxOpsBeforeYield(get(app, path("events", job)), ops)
          const both = [yield* Effect.fork(request), yield* Effect.fork(request)]
          yield* Effect.sleep("1 second")
          const open = yield* Effect.filter(both, (fiber) => Effect.map(Fiber.poll(fiber), Option.isNone))
          assert.lengthOf(open, 1, `${ops} operations before a yield`)
          yield* Fiber.interruptAll(both)
        }
      }
    })))

  it("a limit that is none is refused at once", () => {
    for (const limit of [NaN, 0, -1, 1.5]) {
      const message = new RegExp(`maxConnections(PerClient)? is ${limit}`)
      assert.throws(() => Gateway.httpApp({ maxConnections: limit }), RangeError, message)
      assert.throws(() => Gateway.httpApp({ maxConnectionsPerClient: limit }), RangeError, message)
    }
    assert.isTrue(Effect.isEffect(Gateway.httpApp({ maxConnections: Infinity, maxConnectionsPerClient: Infinity })))
  })

  it.effect("exceeds those of one client, by its token or else its address", () =>
    test(Effect.gen(function*() {
      const job = yield* submit
      const limited = { maxConnectionsPerClient: 1 }
      const open = yield* make(limited)
      const guarded = yield* make({
        ...limited,
        access: GatewayAccess.bearer([Redacted.make("one"), Redacted.make("another")])
      })
      const ask = (app: App, address: string, headers: Headers = {}) =>
        get(
          Effect.updateService(
            app,
            HttpServerRequest.HttpServerRequest,
            (request) => request.modify({ remoteAddress: address })
          ),
          path("events", job),
          headers
        )
      const one = { authorization: "Bearer one" }
      const another = { authorization: "Bearer another" }
      const cases = [
        { first: ask(open, "10.0.0.1"), same: ask(open, "10.0.0.1"), other: ask(open, "10.0.0.2") },
        {
          first: ask(guarded, "10.0.0.1", one),
          same: ask(guarded, "10.0.0.2", one),
          other: ask(guarded, "10.0.0.1", another)
        },
        // a token that decides nothing makes no other client
        { first: ask(open, "10.0.0.1"), same: ask(open, "10.0.0.1", another), other: ask(open, "10.0.0.2") }
      ]
      for (const { first, other, same } of cases) {
        const fibers = [yield* Effect.fork(first)]
        yield* Effect.sleep("1 second")
        const refused = yield* same
        assert.deepStrictEqual([refused.status, JSON.parse(refused.text)._tag], [429, "TooManyConnections"])
        assert.match(refused.headers["retry-after"] ?? "", /^[1-5]$/)
        fibers.push(yield* Effect.fork(other))
        yield* Effect.sleep("1 second")
        for (const fiber of fibers) assert.isTrue(Option.isNone(yield* Fiber.poll(fiber)))
        yield* Fiber.interruptAll(fibers)
      }
      assert.strictEqual((yield* ask(guarded, "10.0.0.1", { authorization: "Bearer none" })).status, 401)
    })))
})

describe("views", () => {
  it("law: nothing of the inputs is ever sent, for any response of the service", async () => {
    const sent = (view: Gateway.Options["view"], workers: Worker.Pool, faults: ReadonlyArray<Fault.Fault>) =>
      test(
        Effect.gen(function*() {
          const job = yield* submit
          const app = yield* make({ view })
          const texts: Array<string> = []
          const note = (answer: Effect.Effect<Answer>) =>
            Effect.tap(answer, ({ text }) => Effect.sync(() => texts.push(text)))
          yield* Effect.all([
            note(get(app, path("status", job))),
            follow((headers) => note(get(app, path("events", job), headers))),
            note(get(app, path("events", job), { accept: "application/x-ndjson" }))
          ], { concurrency: "unbounded" }).pipe(Effect.timeoutOption("10 minutes"))
          assert.isNotEmpty(texts)
          return texts.join("")
        }),
        { workers, faults: faults.map(Fault.on("status")) }
      ).pipe(Effect.runPromise)
    let shown = 0
    await FastCheck.assert(
      FastCheck.asyncProperty(Arbitraries.pool, Arbitraries.faults, async (workers, faults) => {
        assert.notInclude(await sent("slim", workers, faults), secret)
        assert.notInclude(await sent(({ _tag }) => ({ _tag }), workers, faults), secret)
        if ((await sent("full", workers, faults)).includes(secret)) shown++
      }),
      { numRuns: runs(8, 20) }
    )
    assert.isAbove(shown, 0, "the full view sends them")
  })

  it("law: no error has anything of the inputs", async () => {
    let shown = 0
    const status = Job.Running({ job: someJob, inputs: { prompt: secret }, outputs: { secret } })
    const lastSeen = { status, age: Duration.zero, attempt: 1 }
    const quoting = (error: QueueError.QueueError): QueueError.QueueError =>
      Schema.decodeUnknownSync(QueueError.QueueError)({
        ...Schema.encodeSync(QueueError.QueueError)(error),
        lastSeen: Schema.encodeSync(QueueError.LastSeen)(lastSeen),
        previousError: secret,
        ...("detail" in error && { detail: secret }),
        ...(error._tag === "UnexpectedResponse" && { issue: secret, body: secret })
      })
    const refused = (view: Gateway.Options["view"], error: QueueError.WatchError) =>
      Effect.gen(function*() {
        const watcher = JobWatcher.JobWatcher.of({
          subscribe: () =>
            Effect.succeed({
              add: () => Effect.succeed(true),
              next: Effect.succeed(
                Chunk.of({ _tag: "Ended", watch: { job: someJob, cursor: undefined }, exit: Exit.fail(error) })
              )
            }),
          pollingEvents: Stream.empty
        })
        const app = Effect.provideService(Gateway.httpApp({ view }), JobWatcher.JobWatcher, watcher)
        const { status, text } = yield* get(app, path("events", someJob))
        assert.isAtLeast(status, 400)
        return text
      }).pipe(Effect.runPromise)
    await FastCheck.assert(
      FastCheck.asyncProperty(Arbitrary.make(QueueError.QueueError), async (any) => {
        const error = quoting(any)
        const errors: ReadonlyArray<QueueError.WatchError> = [
          error,
          new QueueError.Stalled({
            job: someJob,
            after: Duration.zero,
            lastSeen,
            lastError: error,
            cancel: error
          }),
          new QueueError.UnrecognizedStatus({ job: someJob, status: "paused", snapshot: status })
        ]
        for (const error of errors) {
          const text = await refused("slim", error)
          assert.notInclude(text, secret)
          const json = JSON.parse(text)
          assert.strictEqual(json._tag, error._tag)
          if ("cancel" in error) assert.strictEqual(json.cancel._tag, error.cancel?._tag)
          if ((await refused("full", error)).includes(secret)) shown++
        }
      }),
      { numRuns: runs(50, 160) }
    )
    assert.isAbove(shown, 100)
  })

  it.effect("a view of one's own is all that is sent of a transition", () =>
    test(Effect.gen(function*() {
      const job = yield* submit
      const app = yield* make({ view: ({ _tag, attempt }) => ({ state: _tag, attempt }) })
      const { text } = yield* get(app, path("events", job))
      assert.deepStrictEqual(readEvents(text).map(({ data }) => data), [
        { state: "Queued", attempt: 0 },
        { state: "Claimed", attempt: 1 },
        { state: "Progressed", attempt: 1 },
        { state: "Completed", attempt: 1 },
        { _tag: "End" }
      ])
      const shown = JSON.parse((yield* get(app, path("status", job))).text)
      assert.deepStrictEqual(shown, { state: "Completed", attempt: 1 })
    })))

  it.effect("the full view has the snapshot with its inputs", () =>
    test(Effect.gen(function*() {
      const job = yield* submit
      const app = yield* make({ view: "full" })
      const { text } = yield* get(app, path("events", job))
      assert.deepStrictEqual(readEvents(text)[0]?.data.snapshot.inputs, { prompt: secret })
      assert.deepStrictEqual(JSON.parse((yield* get(app, path("status", job))).text).inputs, { prompt: secret })
    })))
})
