import { assert, describe, it } from "@effect/vitest"
import * as Arr from "effect/Array"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import { execFileSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { Board } from "../../src/gateway/index.js"
import { Cadence, Job, JobQueue, JobStream, JobWatcher, LearnedCadence } from "../../src/index.js"
import { Fault, TestJobQueue, VirtualTime, Worker } from "../../src/testing/index.js"
import { environment } from "../checks/environment.js"
import { get, getUntil, readEvents } from "../fixtures/gateway.js"
import { model } from "../fixtures/job.js"

const secret = "aSecretOfTheSubmitter"
const result = "aResultOfTheModel"

const submit = Effect.orDie(JobQueue.submit({ model, payload: { prompt: secret } }))

const workers: Worker.Pool = {
  pickup: "2 seconds",
  workers: 100,
  claimTimeout: "10 seconds",
  script: Worker.attempts(
    [Worker.progress("5 seconds", 0.3), Worker.stopResponding],
    [
      ...Worker.progressInSteps(4, "5 seconds"),
      Worker.finish("5 seconds", { video_url: result })
    ]
  )
}

type Services = Board.Board | JobWatcher.JobWatcher | JobQueue.JobQueue | TestJobQueue.TestJobQueue | Scope.Scope

const test = <A, E>(
  effect: Effect.Effect<A, E, Services>,
  { queue = { workers }, ...options }: Board.Options & { readonly queue?: TestJobQueue.Options } = {}
) =>
  effect.pipe(
    Effect.provide(Board.layer(options).pipe(Layer.provide(JobWatcher.layer()))),
    Effect.scoped,
    VirtualTime.run,
    Effect.provide(TestJobQueue.layer(queue))
  )

/** The board as an app, for requests without a server. */
const app = Effect.map(Board.Board, ({ httpApp }) => httpApp)

/** Opens a page, and waits. */
const openFor = (path: string, duration: Duration.DurationInput) =>
  Effect.gen(function*() {
    const page = yield* Effect.fork(get(yield* app, path))
    yield* Effect.sleep(duration)
    return page
  })

/** What a page receives that opens now, up to the first time that the server sends: that comes after all jobs. */
const read = (path = "/events") =>
  Effect.gen(function*() {
    const text = yield* getUntil(yield* app, path, (text) => /event: clock\ndata: .*\n\n/.test(text))
    return readEvents(text)
  })

/** The jobs of the events, in their latest state. */
const jobsOf = (events: ReturnType<typeof readEvents>) =>
  Array.from(new Map(dataOf(events, "jobs").flat().map((job) => [job.job, job])).values())

const dataOf = (events: ReturnType<typeof readEvents>, name: string) =>
  events.filter(({ event }) => event === name).map(({ data }) => data)

const watch = (job: Job.JobRef) =>
  Effect.forkScoped(Stream.runDrain(JobStream.transitions(job, { cadence: Cadence.fixed("1 second") })))

const tagsOf = ({ steps }: { readonly steps: ReadonlyArray<{ readonly _tag: string; readonly attempt: number }> }) =>
  steps.map(({ _tag, attempt }) => `${_tag} ${attempt}`)

describe("the page", () => {
  it.effect("is static, and is allowed nothing but its own files", () =>
    test(Effect.gen(function*() {
      const board = yield* app
      for (const [path, type] of [["/", "text/html"], ["/board.css", "text/css"], ["/board.js", "text/javascript"]]) {
        const { headers, status, text } = yield* get(board, path!)
        assert.strictEqual(status, 200)
        assert.include(headers["content-type"], type)
        assert.strictEqual(
          headers["content-security-policy"],
          "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        assert.strictEqual(headers["x-content-type-options"], "nosniff")
        assert.strictEqual(headers["referrer-policy"], "no-referrer")
        assert.isBelow(text.length, 20_000)
      }
      const { text } = yield* get(board, "/")
      assert.notMatch(text, /<style|style=|<script>| on\w+=/)
    })))

  it.effect("is that of the sources", () =>
    Effect.sync(() => {
      const folder = mkdtempSync(join(tmpdir(), "board-"))
      const path = (name: string) => fileURLToPath(new URL(`../../src/${name}`, import.meta.url))
      const made = join(folder, "page.ts")
      execFileSync(process.execPath, [path("page.mjs"), made], { env: environment })
      const isSame = readFileSync(path("gateway/internal/page.ts"), "utf8") === readFileSync(made, "utf8")
      rmSync(folder, { recursive: true })
      assert.isTrue(isSame, "npm run page")
    }))

  it.effect("has no other paths and methods, and serves no other origin", () =>
    test(Effect.gen(function*() {
      const board = yield* app
      assert.strictEqual((yield* get(board, "/index.html")).status, 404)
      assert.strictEqual((yield* get(board, "/constructor")).status, 404)
      assert.strictEqual((yield* get(board, "/", {}, Infinity, "POST")).status, 405)
      for (const path of ["/events", "/outputs?job=m/1", "/why?job=m/1"]) {
        const { headers, status } = yield* get(board, path, { "sec-fetch-site": "cross-site" })
        assert.strictEqual(status, 403)
        assert.include(headers["content-security-policy"], "default-src 'none'")
      }
    })))
})

describe("the jobs", () => {
  it.effect("are those that the program watches, with the steps of their attempts", () =>
    test(Effect.gen(function*() {
      const job = yield* submit
      const other = yield* submit
      assert.deepStrictEqual(jobsOf(yield* read()), [])
      yield* watch(job)
      yield* Effect.sleep("2 minutes")
      assert.notInclude(JSON.stringify(jobsOf(yield* read())), other.requestId)
      const [data] = jobsOf(yield* read())
      assert.deepStrictEqual(tagsOf(data), [
        "Queued 0",
        "Claimed 1",
        "Progressed 1",
        "Requeued 1",
        "Claimed 2",
        "Progressed 2",
        "Completed 2"
      ])
      assert.strictEqual(data.job, Job.format(job))
      assert.strictEqual(data.steps[5].progress, 1)
      assert.deepStrictEqual([data.exact, data.isWatched], [false, false])
    })))

  it.effect("are sent without inputs, and without outputs unless a job is opened that is done", () =>
    test(Effect.gen(function*() {
      const job = yield* submit
      yield* watch(job)
      const board = yield* app
      const outputs = get(board, `/outputs?${new URLSearchParams({ job: Job.format(job) })}`)
      assert.strictEqual((yield* outputs).status, 404)
      yield* Effect.sleep("20 seconds")
      assert.strictEqual((yield* outputs).status, 404)
      yield* Effect.sleep("2 minutes")
      const text = yield* getUntil(board, "/events", (text) => text.includes("Completed"))
      assert.notInclude(text, secret)
      assert.notInclude(text, result)
      assert.deepStrictEqual(JSON.parse((yield* outputs).text), { video_url: result })
      assert.strictEqual((yield* get(board, "/outputs?job=m/another")).status, 404)
      assert.strictEqual((yield* get(board, "/outputs?job=nonsense")).status, 404)
    })))

  it.effect("are explained by what the watcher knows, without a request", () =>
    test(
      Effect.gen(function*() {
        const jobs = yield* Effect.replicateEffect(Effect.zipLeft(submit, Effect.sleep("1 millis")), 3)
        yield* Effect.forEach(jobs, watch)
        yield* Effect.sleep("4500 millis")
        const why = (job: string) => Effect.flatMap(app, (board) => get(board, `/why?${new URLSearchParams({ job })}`))
        const before = (yield* TestJobQueue.calls).length
        const { text } = yield* why(Job.format(jobs[2]!))
        assert.match(
          JSON.parse(text).summary,
          /^1 of your jobs is ahead of it at priority 0; 1 of your jobs runs; the job, created at \S+, waits at priority 0;/
        )
        assert.strictEqual((yield* TestJobQueue.calls).length, before)
        assert.strictEqual((yield* why(`${model}/another`)).status, 404)
        assert.strictEqual((yield* why("nonsense")).status, 404)
      }),
      { queue: { workers: { ...workers, workers: 1 } } }
    ))

  it.effect("may be of a queue that a test mocks in part", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const queue = yield* JobQueue.JobQueue
      const layer = Board.layer().pipe(
        Layer.provide(JobWatcher.layer()),
        Layer.provide(Layer.mock(JobQueue.JobQueue, { status: queue.status }))
      )
      assert.deepStrictEqual(yield* Effect.provide(JobStream.result(job), layer), { video_url: result })
    }).pipe(VirtualTime.run, Effect.provide(TestJobQueue.layer({ workers }))))

  it.effect("are explained when they stand still: since when, and without an estimate that has passed", () =>
    test(
      Effect.gen(function*() {
        const job = yield* submit
        yield* watch(job)
        yield* Effect.sleep("1 hour")
        const { text } = yield* get(yield* app, `/why?${new URLSearchParams({ job: Job.format(job) })}`)
        assert.match(
          JSON.parse(text).summary,
          /^a worker has been running the job since \S+; nothing of it has changed since 1970-01-01T00:00:5\S+( \(\d+s ago\))?; its/
        )
      }),
      { queue: { workers: { script: Worker.always(Worker.progress("50 seconds", 0.95), Worker.finish("2 hours")) } } }
    ))

  it.effect("are bounded: the oldest that ended go first, and those that are left out are counted", () =>
    test(
      Effect.gen(function*() {
        const ended = yield* submit
        yield* watch(ended)
        yield* Effect.sleep("2 minutes")
        const live = yield* Effect.replicateEffect(submit, 4)
        yield* Effect.forEach(live, watch)
        yield* Effect.sleep("1 second")
        const events = yield* read()
        assert.deepStrictEqual(
          jobsOf(events).map(({ job }) => job),
          live.slice(0, 3).map(Job.format)
        )
        assert.deepStrictEqual(dataOf(events, "clock").map(({ hidden }) => hidden), [1])
        yield* Effect.sleep("2 minutes")
        const later = yield* submit
        yield* watch(later)
        yield* Effect.sleep("1 second")
        const shown = jobsOf(yield* read()).map(({ job }) => job)
        assert.strictEqual(shown.length, 3)
        assert.strictEqual(shown.at(-1), Job.format(later))
      }),
      { maxJobs: 3 }
    ))

  it.effect("are not sent again when they have made room for one that ends at the same time", () =>
    test(
      Effect.gen(function*() {
        const jobs = [yield* submit, yield* submit]
        // both have ended when the program is ready for more
        const transitions = JobStream.watchAll(Stream.fromIterable(jobs), { cadence: Cadence.fixed("1 second") })
        yield* Effect.forkScoped(Stream.runForEach(transitions, () => Effect.sleep("5 minutes")))
        yield* Effect.sleep("1 second")
        const text = yield* getUntil(
          yield* app,
          "/events",
          (text) => /event: removed\n[^]*event: clock\n.*\n\n/.test(text)
        )
        const shown = new Set<string>()
        for (const { data, event } of readEvents(text)) {
          if (event === "jobs") { for (const { job } of data) shown.add(job) }
          if (event === "removed") { for (const job of data) shown.delete(job) }
        }
        assert.deepStrictEqual(Array.from(shown), [Job.format(jobs[1]!)])
      }),
      { maxJobs: 1 }
    ))

  it.effect("are streamed to a hundred pages, in any interleaving of their requests", () =>
    test(Effect.gen(function*() {
      const page = get(yield* app, "/events")
      const pages = yield* Effect.replicateEffect(Effect.fork(page), 99)
      for (let ops = 10; ops < 40; ops++) {
        const both = yield* Effect.replicateEffect(Effect.fork(Effect.withMaxOpsBeforeYield(page, ops)), 2)
        yield* Effect.sleep("1 second")
        const ended = Arr.getSomes(yield* Effect.forEach(both, Fiber.poll))
        assert.deepStrictEqual((yield* Effect.all(ended)).map(({ status }) => status), [503], `${ops} operations`)
        yield* Fiber.interruptAll(both)
      }
      yield* Fiber.interruptAll(pages)
    })))

  it("are not fewer than one", () => {
    for (const maxJobs of [NaN, 0, -1, 1.5]) {
      assert.throws(() => Board.layer({ maxJobs }), RangeError, `maxJobs is ${maxJobs}`)
    }
  })

  it.effect("are not streamed any more when the board stops", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(Board.layer().pipe(Layer.provide(JobWatcher.layer())), scope)
      const page = yield* Effect.fork(get(Context.get(context, Board.Board).httpApp, "/events"))
      yield* TestClock.adjust("1 second")
      yield* Scope.close(scope, Exit.void)
      const { text } = yield* Fiber.join(page)
      assert.include(text, "event: clock")
    }).pipe(Effect.provide(TestJobQueue.layer({ workers }))))

  it.effect("stay, but are not shown as watched, when the program stops watching", () =>
    test(Effect.gen(function*() {
      const fiber = yield* watch(yield* submit)
      yield* Effect.sleep("4 seconds")
      assert.isTrue(jobsOf(yield* read())[0].isWatched)
      yield* Fiber.interrupt(fiber)
      const [data] = jobsOf(yield* read())
      assert.isFalse(data.isWatched)
      assert.deepStrictEqual(tagsOf(data), ["Queued 0", "Claimed 1"])
      // its row may be opened: there is nothing to explain, but no error either
      const { status, text } = yield* get(yield* app, `/why?${new URLSearchParams({ job: data.job })}`)
      assert.deepStrictEqual([status, JSON.parse(text)], [200, { summary: "" }])
    })))

  it.effect("show the trouble of watching them, without the text of the service", () =>
    test(
      Effect.gen(function*() {
        yield* watch(yield* submit)
        const text = yield* getUntil(yield* app, "/events", (text) => /"trouble".*\n\n/.test(text))
        const [{ trouble }] = jobsOf(readEvents(text))
        assert.match(trouble.message, /503/)
        assert.match(trouble.since, /^1970-01-01T00:00:0/)
        yield* Effect.sleep("2 minutes")
        assert.isUndefined(jobsOf(yield* read())[0].trouble)
      }),
      { queue: { workers, faults: [Fault.answer(503, secret).pipe(Fault.during("3 seconds", "1 minute"))] } }
    ))
})

describe("a page", () => {
  it.effect("adds jobs for as long as it is open", () =>
    test(Effect.gen(function*() {
      const job = yield* submit
      const page = yield* openFor(`/events?${new URLSearchParams({ job: Job.format(job) })}`, "4 seconds")
      const [open] = jobsOf(yield* read())
      assert.deepStrictEqual([open.job, open.isWatched, tagsOf(open).length], [Job.format(job), true, 2])
      yield* Fiber.interrupt(page)
      assert.isFalse(jobsOf(yield* read())[0].isWatched)
    })))

  it.effect("reads why a job cannot be added or watched", () =>
    test(Effect.gen(function*() {
      const names = ["nonsense", ...Array.from({ length: 20 }, (_, i) => `${model}/${i}`)]
      const query = new URLSearchParams(names.map((job) => ["job", job]))
      const refused = dataOf(yield* read(`/events?${query}`), "refused")
      assert.deepStrictEqual(refused, [
        { job: "nonsense", message: "a job is named MODEL/REQUEST_ID" },
        { job: `${model}/19`, message: "a page adds 20 jobs at most" }
      ])
      const page = yield* openFor(`/events?${query}`, "1 minute")
      const [{ error }] = jobsOf(yield* read())
      assert.match(error, /no such job/)
      yield* Fiber.interrupt(page)
    })))

  it.effect("receives what is new, and the time of the server", () =>
    test(
      Effect.gen(function*() {
        const board = yield* app
        yield* watch(yield* submit)
        const text = yield* getUntil(board, "/events", (text) => /Completed[^]*event: clock\ndata: .*\n\n/.test(text))
        assert.match(text, /^retry: [1-5]\d{3}\n\n/)
        const events = readEvents(text)
        const sizes = dataOf(events, "jobs").map(([{ steps }]) => steps.length)
        assert.deepStrictEqual(sizes, [1, 2, 3])
        const times = dataOf(events, "clock").map(({ now }) => now)
        // with the jobs, and every 10 seconds
        assert.strictEqual(times.length, 3 + 3, String(times))
        assert.isTrue(times.every((time, i) => i === 0 || time - times[i - 1] <= 10_100), String(times))
      }),
      { queue: { workers: { pickup: "2 seconds", script: Worker.always(Worker.finish("35 seconds")) } } }
    ))
})

it.effect("shows when a job is expected to end, if that is learned", () =>
  Effect.gen(function*() {
    yield* Effect.forEach(yield* Effect.replicateEffect(submit, 4), watch)
    yield* Effect.sleep("5 minutes")
    yield* watch(yield* submit)
    yield* Effect.sleep("4 seconds")
    const { expectedEnd, steps } = jobsOf(yield* read()).at(-1)
    const expected = expectedEnd - Date.parse(steps[0].at)
    // it was claimed after 2 seconds, and the last attempts of the others took 25
    assert.isAbove(expected, 20_000)
    assert.isBelow(expected, 35_000)
  }).pipe(
    Effect.provide(
      Board.layer().pipe(
        Layer.provide(JobWatcher.layer()),
        Layer.provideMerge(LearnedCadence.layer({ minSamples: 3 }))
      )
    ),
    Effect.scoped,
    VirtualTime.run,
    Effect.provide(TestJobQueue.layer({ workers }))
  ))
