import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/TestClock"
import type { Job } from "../../src/index.js"
import { JobQueue, JobWatcher, QueueError } from "../../src/index.js"
import type { Worker } from "../../src/testing/index.js"
import { Conformance, TestJobQueue } from "../../src/testing/index.js"
import * as Scripted from "./conformance/scripted.js"

// -----------------------------------------------------------------------------
// faulty queues
// -----------------------------------------------------------------------------

/** A defect of a queue. It is created anew for each queue, so it may have state. */
type Plant = (queue: JobQueue.Service) => Partial<JobQueue.Service>

const planted = (plant: Plant) => (workers?: Worker.Pool): Layer.Layer<JobQueue.JobQueue> =>
  Layer.effect(
    JobQueue.JobQueue,
    Effect.map(JobQueue.JobQueue, (queue) => ({ ...queue, ...plant(queue) }))
  ).pipe(Layer.provide(TestJobQueue.layer({ workers })))

const seen = (change: (status: Job.JobStatus) => Job.JobStatus): Plant => (queue) => ({
  status: (job) => Effect.map(queue.status(job), change)
})

const notFoundAs = (change: (error: QueueError.JobNotFound) => QueueError.QueueError): Plant => (queue) => ({
  status: (job) => Effect.catchTag(queue.status(job), "JobNotFound", (error) => Effect.fail(change(error))),
  cancel: (job) => Effect.catchTag(queue.cancel(job), "JobNotFound", (error) => Effect.fail(change(error)))
})

/** The suite of a check: that of any queue, by the access that it needs, or that of a scripted queue. */
type Suite = NonNullable<Conformance.Target["access"]> | "scripted"

/** The defect, the smallest suite that detects it, and one check that detects it. */
const plants: ReadonlyArray<readonly [what: string, suite: Suite, check: string, plant: Plant]> = [
  [
    "a missing job has the wrong error code",
    "scripted",
    "refusals: a job that is not there is not found, in every field of the error",
    notFoundAs((error) => new QueueError.JobNotFound({ ...error, code: "not_found" }))
  ],
  [
    "a missing job is an invalid request",
    "shared",
    "not found: an unknown id",
    notFoundAs(({ job, model, operation }) => new QueueError.InvalidRequest({ operation, model, job, httpStatus: 400 }))
  ],
  [
    "a job is found under any model",
    "shared",
    "not found: a job of another model",
    (queue) => {
      const jobs = new Map<string, Job.JobRef>()
      return {
        submit: (request) =>
          Effect.tap(queue.submit(request), (job) => Effect.sync(() => jobs.set(job.requestId, job))),
        status: (job) => queue.status(jobs.get(job?.requestId) ?? job)
      }
    }
  ],
  [
    "a running job is reported as canceled",
    "scripted",
    "cancel: leaves a job alone that runs",
    (queue) => ({ cancel: (job) => Effect.as(queue.cancel(job), JobQueue.CancelResult.Canceled()) })
  ],
  [
    "a cancel does nothing",
    "shared",
    "cancel: cancels a job or reports its state, in agreement with its status",
    (queue) => ({ cancel: (job) => Effect.as(queue.status(job), JobQueue.CancelResult.Canceled()) })
  ],
  [
    "a cache never updates a status",
    "shared",
    "cancel: cancels a job or reports its state, in agreement with its status",
    (queue) => {
      const cache = new Map<string, Job.JobStatus>()
      return {
        status: (job) =>
          Effect.suspend(() => {
            const key = `${job?.model} ${job?.requestId}`
            const known = cache.get(key)
            return known !== undefined
              ? Effect.succeed(known)
              : Effect.tap(queue.status(job), (status) => Effect.sync(() => cache.set(key, status)))
          })
      }
    }
  ],
  [
    "info from workers replaces the submitter's info",
    "scripted",
    "workers: report progress, which adds to the info",
    seen((status) => "progress" in status.info ? { ...status, info: { progress: status.info["progress"] } } : status)
  ],
  [
    "the submitter's info is lost",
    "scripted",
    "submit: keeps what was submitted, and begins with nothing else",
    (queue) => ({ submit: ({ info: _, ...request }) => queue.submit(request) })
  ],
  [
    "the priority is dropped",
    "shared",
    "submit: returns a reference whose status shows the job as submitted",
    (queue) => ({
      submit: (request) => queue.submit(request?.priority === -1_000_000 ? { ...request, priority: 0 } : request)
    })
  ],
  [
    "priorities are inverted",
    "scripted",
    "workers: take the highest priority first, and of equals the oldest",
    (queue) => ({
      submit: (request) =>
        queue.submit(
          (request?.info as Job.JsonObject | undefined)?.["name"] === "first"
            ? request
            : { ...request, priority: -(request?.priority ?? 0) }
        )
    })
  ],
  [
    "the total omits pending jobs",
    "shared",
    "metrics: are counts that add up",
    (queue) => ({ metrics: (model) => Effect.map(queue.metrics(model), (all) => ({ ...all, total: all.running })) })
  ],
  [
    "the creation time is one hour late",
    "shared",
    "submit: returns a reference whose status shows the job as submitted",
    seen((status) => ({ ...status, createdAt: Option.map(status.createdAt, DateTime.add({ hours: 1 })) }))
  ],
  [
    "the creation time is one millisecond late",
    "scripted",
    "submit: gives a reference with a UUIDv7 that begins with the time of the submission",
    seen((status) => ({ ...status, createdAt: Option.map(status.createdAt, DateTime.add({ millis: 1 })) }))
  ],
  [
    "clear also cancels running jobs",
    "scripted",
    "clear: leaves alone what runs and what is another model's",
    (queue) => {
      const cleared = new Set<string>()
      return {
        clear: (model) => Effect.tap(queue.clear(model), () => Effect.sync(() => cleared.add(model))),
        status: (job) =>
          Effect.map(
            queue.status(job),
            (status) => status._tag === "Running" && cleared.has(job.model) ? { ...status, _tag: "Canceled" } : status
          )
      }
    }
  ],
  [
    "clear returns one too many",
    "exclusive",
    "clear: cancels the pending jobs, and returns their number",
    (queue) => ({ clear: (model) => Effect.map(queue.clear(model), (count) => count + 1) })
  ],
  [
    "equal submits return the same job",
    "shared",
    "submit: returns a different reference for every job",
    (queue) => {
      const jobs = new Map<string, Job.JobRef>()
      return {
        submit: (request) =>
          Effect.suspend(() => {
            const known = jobs.get(request?.model)
            return known !== undefined && request.priority === -1_000_000
              ? Effect.succeed(known)
              : Effect.tap(queue.submit(request), (job) => Effect.sync(() => jobs.set(job.model, job)))
          })
      }
    }
  ],
  [
    "retries are not counted",
    "scripted",
    "workers: that die lose the job to another one, and what they noted stays",
    seen((status) => ({ ...status, retries: Option.some(0) }))
  ],
  [
    "outputs are lost",
    "scripted",
    "watch: a job that is done",
    seen((status) => ({ ...status, outputs: {} }))
  ],
  [
    "invalid requests are sent nevertheless",
    "shared",
    "bad input: a blank model or id is refused",
    (queue) => ({
      metrics: (model) =>
        Effect.mapError(
          queue.metrics(model),
          (error) =>
            error._tag === "InvalidRequest" ? new QueueError.InvalidRequest({ ...error, httpStatus: 400 }) : error
        )
    })
  ],
  [
    "an interrupted status call keeps a resource that other calls need",
    "shared",
    "interruption: an interrupted status call does not change the queue",
    (queue) => {
      let taken = false
      return {
        status: (job) =>
          Effect.gen(function*() {
            while (taken) yield* Effect.sleep("1 second")
            taken = true
            yield* Effect.yieldNow()
            const status = yield* Effect.either(queue.status(job))
            taken = false
            return yield* status
          })
      }
    }
  ]
]

const failureOf = (check: Conformance.Check): Effect.Effect<Conformance.ConformanceFailure | undefined> =>
  Effect.match(check.run, { onFailure: (failure) => failure, onSuccess: () => undefined })

/** The checks of a suite, each on its own queue. */
const checksOf = (suite: Suite, plant: Plant = () => ({})): ReadonlyArray<Conformance.Check> =>
  suite === "scripted"
    ? Scripted.checks({ layer: planted(plant), pass: TestClock.adjust })
    : Conformance.checks({ layer: planted(plant)(), pass: TestClock.adjust, access: suite })

const named = (checks: ReadonlyArray<Conformance.Check>, name: string): Conformance.Check =>
  checks.find((check) => check.name === name) ?? assert.fail(`no such check: ${name}`)

/** One queue for all checks, like the service. Only the checks see its defect. */
const oneForAll = (plant: Plant) =>
  Effect.map(Layer.build(TestJobQueue.layer()), (context) => {
    const queue = Context.get(context, JobQueue.JobQueue)
    const calls: Array<string> = []
    const noting: JobQueue.Service = {
      ...queue,
      clear: (model) => Effect.zipRight(Effect.sync(() => calls.push("clear")), queue.clear(model))
    }
    const subject: Conformance.Target = {
      layer: Layer.sync(JobQueue.JobQueue, () => ({ ...noting, ...plant(noting) })),
      pass: TestClock.adjust
    }
    return { queue, calls, subject }
  })

describe("Conformance", () => {
  describe("detects that", () => {
    for (const [what, suite, name, plant] of plants) {
      it.effect(what, () =>
        Effect.gen(function*() {
          const failure = yield* failureOf(named(checksOf(suite, plant), name))
          if (failure === undefined) return assert.fail("nothing was found")
          assert.strictEqual(failure.check, name)
          const [check, what, ...rest] = failure.message.split("\n")
          assert.deepStrictEqual([check, what], [name, failure.what])
          assert.match(rest.join("\n"), /^\n- expected\n\+ actual\n\n([-+ ] .*\n)+\ncalls:(\n {2}.+ → .+)+$/)
          assert.match(rest.slice(3).join("\n"), /^[-+]/m)
        }))
    }
  })

  it.effect("reports the expected value, the actual value, and the calls", () =>
    Effect.gen(function*() {
      const name = "cancel: leaves a job alone that runs"
      const checks = checksOf("scripted", (queue) => ({
        cancel: (job) => Effect.as(queue.cancel(job), JobQueue.CancelResult.Canceled())
      }))
      const failure = yield* failureOf(named(checks, name))
      assert.strictEqual(
        failure?.message.replace(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, "<id>"),
        `cancel: leaves a job alone that runs
cancel of a running job

- expected
+ actual

  {
-   "_tag": "NotCanceled",
-   "status": "running",
+   "_tag": "Canceled",
  }

calls:
  submit { "model": "my-org/video-generator", "payload": {} } → <id>
  status my-org/video-generator/<id> → Running
  cancel my-org/video-generator/<id> → { "_tag": "Canceled" }`
      )
    }))

  it.effect("reports an unexpected error, interruption or defect of a call", () =>
    Effect.gen(function*() {
      const name = "metrics: are zeros for a model never seen"
      const met: ReadonlyArray<readonly [Effect.Effect<never, QueueError.QueueError>, RegExp]> = [
        [
          Effect.fail(new QueueError.Unavailable({ operation: "metrics", model: "m", httpStatus: 503 })),
          /^unexpected error: Unavailable: metrics m: the service is not available \(HTTP 503\)/
        ],
        [Effect.interrupt, /^unexpected error: All fibers interrupted/],
        [Effect.die(new TypeError("x is not a function")), /^unexpected error: TypeError: x is not a function/]
      ]
      for (const [call, what] of met) {
        const failure = yield* failureOf(named(checksOf("scripted", () => ({ metrics: () => call })), name))
        assert.match(failure!.what, what)
        assert.strictEqual(failure!.expected, undefined)
        assert.match(
          failure!.message,
          /\ncalls:\n {2}submit .*\n {2}metrics "a model never seen" → \w+(: .*)?$/
        )
      }
      const broken = Layer.fail(new Error("no connection"))
      const checks = Scripted.checks({ layer: () => broken, pass: TestClock.adjust })
      const failure = yield* failureOf(named(checks, name))
      assert.match(failure!.message, /^metrics: are zeros.*\nunexpected error: Error: no connection/)
      assert.deepStrictEqual(failure!.calls, [])
    }))

  it.effect("fails with errors that survive a round trip through JSON", () =>
    Effect.gen(function*() {
      const checks = checksOf("scripted", (queue) => ({
        metrics: (model) => Effect.map(queue.metrics(model), () => ({}) as never)
      }))
      const failure = yield* failureOf(named(checks, "metrics: are zeros for a model never seen"))
      const json = Schema.parseJson(Conformance.ConformanceFailure)
      const arrived = yield* Schema.decode(json)(yield* Schema.encode(json)(failure!))
      assert.strictEqual(arrived.message, failure!.message)
      assert.strictEqual(arrived.actual, "{}")
    }))

  it("has more checks with more access, each with a unique name", () => {
    const suites = ["shared", "exclusive", "scripted"] as const
    const names = suites.map((suite) => checksOf(suite).map(({ name }) => name))
    for (const [i, all] of names.entries()) {
      assert.strictEqual(new Set(all).size, all.length)
      assert.isAbove(all.length, names[i - 1]?.length ?? 0)
      for (const name of names[i - 1] ?? []) assert.include(all, name)
    }
    const byDefault = Conformance.checks({ layer: TestJobQueue.layer(), pass: TestClock.adjust })
    assert.deepStrictEqual(byDefault.map(({ name }) => name), names[0])
  })

  describe("a watcher", () => {
    const subject = { watcher: JobWatcher.layer(), pass: TestClock.adjust }

    for (const check of Conformance.watcherChecks(subject)) it.effect(`passes: ${check.name}`, () => check.run)

    it.effect("fails if it changes a snapshot", () =>
      Effect.gen(function*() {
        const watcher = Layer.provide(
          JobWatcher.layer(),
          Layer.effect(
            JobQueue.JobQueue,
            Effect.map(JobQueue.JobQueue, (queue) => ({
              ...queue,
              ...seen((status) => ({ ...status, retries: Option.some(0) }))(queue)
            }))
          )
        )
        const checks = Conformance.watcherChecks({ ...subject, watcher })
        const failures = yield* Effect.forEach(checks, failureOf)
        const failed = failures.flatMap((failure) => failure === undefined ? [] : [failure.check])
        assert.include(failed, "watch: a job that two workers lose and a third one finishes")
        assert.notInclude(failed, "watch: a job that is done")
      }))
  })

  it.effect("can run repeatedly and concurrently", () =>
    Effect.gen(function*() {
      const checks = checksOf("exclusive")
      for (let i = 0; i < 2; i++) {
        assert.deepStrictEqual(
          yield* Effect.forEach(checks, failureOf, { concurrency: "unbounded" }),
          checks.map(() => undefined)
        )
      }
    }))

  it.effect("submits with the given model and payload", () =>
    Effect.gen(function*() {
      const asked: Array<JobQueue.SubmitRequest> = []
      const { subject } = yield* oneForAll((queue) => ({
        submit: (request) => Effect.tap(queue.submit(request), () => Effect.sync(() => asked.push(request)))
      }))
      const payload = { duration_seconds: 1 }
      for (const check of Conformance.checks({ ...subject, model: "ours/deployed", payload })) yield* check.run
      assert.isNotEmpty(asked)
      for (const request of asked) {
        assert.strictEqual(request.model, "ours/deployed")
        assert.strictEqual(request.payload, payload)
        assert.isBelow(request.priority ?? 0, -1000)
      }
    }).pipe(Effect.scoped))

  describe("leaves a shared queue", () => {
    /** The state of the queue after all checks. */
    const after = (plant: Plant) =>
      Effect.gen(function*() {
        const { calls, queue, subject } = yield* oneForAll(plant)
        const theirs = yield* queue.submit({ model: Scripted.model, payload: {} })
        const failures = yield* Effect.forEach(Conformance.checks(subject), failureOf)
        const metrics = yield* queue.metrics(Scripted.model)
        const { _tag } = yield* queue.status(theirs)
        return { calls, metrics, theirs: _tag, failed: failures.filter((failure) => failure !== undefined).length }
      }).pipe(Effect.scoped)

    const asItWas = {
      calls: [] as Array<string>,
      metrics: { running: 0, waiting: 1, total: 1 },
      theirs: "Pending" as const
    }

    it.effect("unchanged if no check fails", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* after(() => ({})), { ...asItWas, failed: 0 })
      }))

    it.effect("unchanged if checks fail midway or die", () =>
      Effect.gen(function*() {
        const { failed: notSeen, ...notFound } = yield* after(() => ({
          status: (job) =>
            Effect.fail(new QueueError.JobNotFound({ operation: "status", model: job.model, job, httpStatus: 404 }))
        }))
        assert.deepStrictEqual(notFound, asItWas)
        assert.isAbove(notSeen, 5)
        const { failed: broken, ...died } = yield* after(() => ({ status: () => Effect.die("a bug") }))
        assert.deepStrictEqual(died, asItWas)
        assert.isAbove(broken, 5)
      }))

    it.effect("unchanged if a cancel needs a retry", () =>
      Effect.gen(function*() {
        let refused = 0
        const left = yield* after((queue) => ({
          cancel: (job) =>
            refused++ % 3 === 0
              ? Effect.fail(new QueueError.RateLimited({ operation: "cancel", model: job.model, job, httpStatus: 429 }))
              : queue.cancel(job)
        }))
        assert.deepStrictEqual({ ...left, failed: 0 }, { ...asItWas, failed: 0 })
      }))

    it.effect("with a warning for a job that could not be canceled", () =>
      Effect.gen(function*() {
        const warnings: Array<string> = []
        const logger = Logger.make(({ logLevel, message }) => {
          warnings.push(`${logLevel.label} ${message}`)
        })
        const { subject } = yield* oneForAll(() => ({ cancel: () => Effect.die("a bug") }))
        const check = named(Conformance.checks(subject), "metrics: are counts that add up")
        yield* Effect.provide(check.run, Logger.replace(Logger.defaultLogger, logger))
        assert.strictEqual(warnings.length, 1)
        assert.match(warnings[0]!, /^WARN my-org\/video-generator\/.*: left behind by a check, could not be canceled/)
      }).pipe(Effect.scoped))

    it.effect("unchanged if a check is interrupted during a submit", () =>
      Effect.gen(function*() {
        const arrived = yield* Deferred.make<void>()
        const { queue, subject } = yield* oneForAll((queue) => ({
          // the request arrives long before the response
          submit: (request) =>
            Effect.tap(queue.submit(request), () =>
              Effect.zipRight(Deferred.succeed(arrived, undefined), Effect.sleep("1 second")))
        }))
        const [check] = Conformance.checks(subject)
        const fiber = yield* Effect.fork(check!.run)
        yield* Deferred.await(arrived)
        assert.strictEqual((yield* queue.metrics(Scripted.model)).waiting, 1)
        yield* Fiber.interruptFork(fiber)
        yield* TestClock.adjust("1 second")
        const exit = yield* Fiber.await(fiber)
        assert.isTrue(Exit.isInterrupted(exit))
        assert.strictEqual((yield* queue.metrics(Scripted.model)).waiting, 0)
      }).pipe(Effect.scoped))
  })
})
