import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as FastCheck from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Ref from "effect/Ref"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Supervisor from "effect/Supervisor"
import { Emulator } from "../../src/emulator/index.js"
import {
  Deadline,
  JobQueue,
  JobRun,
  JobStage,
  JobStream,
  JobWatcher,
  QueueError,
  Retry,
  SubmitJournal,
  WatchPolicy
} from "../../src/index.js"
import { Arbitraries, Fault, TestJobQueue, VirtualTime, Worker } from "../../src/testing/index.js"
import * as Clients from "../fixtures/clients.js"
import { Epoch } from "../fixtures/epoch.js"
import { faultsOn, slowOn } from "../fixtures/faultPlans.js"
import { inQueue } from "../fixtures/inQueue.js"
import { model } from "../fixtures/job.js"
import { runs } from "../fixtures/runs.js"
import { tally } from "../fixtures/tally.js"
import { watched } from "../fixtures/watched.js"

const request: JobQueue.SubmitRequest = { model, payload: { prompt: "a cat" }, info: { user: "u1" } }

const finishing: Worker.Pool = { workers: 8, script: Worker.always(Worker.finish("10 seconds", { sum: 3 })) }

const run = <A>(
  options: TestJobQueue.Options,
  effect: Effect.Effect<A, never, JobQueue.JobQueue | JobWatcher.JobWatcher | TestJobQueue.TestJobQueue>
): Promise<A> => Effect.runPromise(inQueue(options)(effect))

/** Workers that claim jobs after some time. */
const pool = FastCheck.tuple(
  Arbitraries.pool,
  FastCheck.oneof(FastCheck.nat({ max: 3_000 }), FastCheck.nat({ max: 40_000 }))
)
  .map(([pool, pickup]): Worker.Pool => ({ ...pool, pickup }))

/** The jobs of the queue, and whether each is pending, by its history. */
const recorded = Effect.gen(function*() {
  const queue = yield* TestJobQueue.TestJobQueue
  const jobs = yield* queue.jobs
  return yield* Effect.forEach(jobs, (job) =>
    Effect.map(queue.transitions(job), (transitions) => {
      const last = transitions.at(-1)!
      return { job, isPending: last._tag === "Queued" || last._tag === "Requeued", info: last.snapshot.info }
    }))
})

// -----------------------------------------------------------------------------
describe("submit", () => {
  it("law: with any faults there is at most one job; one after a success, and none after an error unless that is SubmitUncertain", async () => {
    const { met, note } = tally()
    await FastCheck.assert(
      FastCheck.asyncProperty(faultsOn("submit"), FastCheck.boolean(), async (faults, isNamed) => {
        await run(
          { faults },
          Effect.gen(function*() {
            const exit = yield* Effect.exit(JobRun.submit(request, isNamed ? { key: "order-17" } : {}))
            // a request in flight may still arrive
            yield* Effect.sleep("1 day")
            const jobs = yield* recorded
            assert.isAtMost(jobs.length, 1)
            for (const { info } of jobs) {
              assert.strictEqual(info["user"], "u1")
              if (isNamed) assert.strictEqual(info["client_key"], "order-17")
            }
            if (Exit.isSuccess(exit)) {
              assert.deepStrictEqual(jobs.map(({ job }) => job), [exit.value])
              const { submit } = yield* TestJobQueue.counts
              return note(submit > 1 ? "made after trying again" : "made")
            }
            assert(exit.cause._tag === "Fail", Cause.pretty(exit.cause))
            const { error } = exit.cause
            if (error._tag !== "SubmitUncertain") {
              assert.deepStrictEqual(jobs, [], error.message)
              return note("not made")
            }
            for (const { info } of jobs) assert.strictEqual(info["client_key"], error.key)
            note(jobs.length === 1 ? "uncertain, and made" : "uncertain, and not made")
          })
        )
      }),
      {
        numRuns: runs(30, 60),
        examples: [
          [[Fault.rateLimited("2 seconds").pipe(Fault.on("submit"), Fault.nth(1))], true],
          [[Fault.unauthorized.pipe(Fault.on("submit"))], true]
        ]
      }
    )
    met("made", "made after trying again", "not made", "uncertain, and made", "uncertain, and not made")
  })

  it("law: with a journal and a key, a program that crashes at any time and restarts makes at most one job", async () => {
    const { met, note } = tally()
    const submit = JobRun.submit(request, { key: "order-17" })
    await FastCheck.assert(
      FastCheck.asyncProperty(
        faultsOn("submit"),
        slowOn(["submit"], 3_000),
        FastCheck.array(FastCheck.nat({ max: 8_000 }), { maxLength: 3 }),
        async (faults, slow, crashes) => {
          await run(
            { faults: [...slow, ...faults] },
            Effect.gen(function*() {
              for (const after of crashes) yield* Effect.exit(Effect.timeout(submit, after))
              const exit = yield* Effect.exit(submit)
              yield* Effect.sleep("1 day")
              const jobs = yield* recorded
              assert.isAtMost(jobs.length, 1)
              if (Exit.isSuccess(exit)) {
                assert.deepStrictEqual(jobs.map(({ job }) => job), [exit.value])
                // a later submit returns the same job, and sends nothing
                const { submit: before } = yield* TestJobQueue.counts
                assert.deepStrictEqual(yield* Effect.orDie(submit), exit.value)
                assert.strictEqual((yield* TestJobQueue.counts).submit, before)
                return note(crashes.length === 0 ? "made" : "made in the end")
              }
              assert(exit.cause._tag === "Fail", Cause.pretty(exit.cause))
              const { error } = exit.cause
              if (error._tag !== "SubmitUncertain") assert.deepStrictEqual(jobs, [], error.message)
              note(error._tag === "SubmitUncertain" && error.error === undefined ? "left open" : "failed")
            }).pipe(Effect.provide(SubmitJournal.layerMemory))
          )
        }
      ),
      { numRuns: runs(30, 60) }
    )
    met("made", "made in the end", "left open", "failed")
  })

  it.effect("sends a refused submit again, and waits for Retry-After", () =>
    Effect.gen(function*() {
      const retry = Schedule.intersect(Schedule.spaced("1 second"), Schedule.recurs(3))
      const job = yield* JobRun.submit(request, { retry })
      assert.strictEqual(job.model, model)
      const calls = yield* TestJobQueue.calls
      assert.deepStrictEqual(calls.map(({ end }) => end?.outcome), [
        "Unreachable",
        "RateLimited",
        "Unavailable",
        "answered"
      ])
      // the next request is not sent before Retry-After, with any policy
      assert.isAtLeast(calls[2]!.at - calls[1]!.at, 60_000)
      assert.isAtLeast(calls[3]!.at - calls[2]!.at, 5_000)
    }).pipe(inQueue({
      faults: [
        Fault.refused.pipe(Fault.nth(1)),
        Fault.rateLimited("1 minute").pipe(Fault.nth(2)),
        Fault.unavailable({ retryAfter: "5 seconds" }).pipe(Fault.nth(3))
      ]
    })))

  it.effect("fails with the last error when the retry policy ends", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(JobRun.submit(request, {
        retry: Retry.transient({ base: "1 second", factor: 1, cap: "1 second", times: 2 })
      }))
      assert(error._tag === "Unreachable" && error.sent === false)
      assert.strictEqual((yield* TestJobQueue.counts).submit, 3)
      // the policy of the app is used if the submit has none
      yield* Effect.flip(JobRun.submit(request)).pipe(
        Effect.provideService(WatchPolicy.Default, WatchPolicy.withRetry(WatchPolicy.defaultPolicy, Schedule.stop))
      )
      assert.strictEqual((yield* TestJobQueue.counts).submit, 4)
    }).pipe(inQueue({ faults: [Fault.refused] })))

  it.effect("does not retry a permanent error, with any policy", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(JobRun.submit(request, { retry: Schedule.forever }))
      assert.strictEqual(error._tag, "AccessDenied")
      assert.strictEqual((yield* TestJobQueue.counts).submit, 1)
    }).pipe(inQueue({ faults: [Fault.unauthorized] })))

  it.effect("fails with the model, the key and the time if the response is lost", () =>
    Effect.gen(function*() {
      yield* Effect.sleep("1 minute")
      const at = yield* Clock.currentTimeMillis
      const error = yield* Effect.flip(JobRun.submit(request, { key: "order-17", retry: Schedule.forever }))
      assert(error._tag === "SubmitUncertain")
      assert.deepStrictEqual([error.model, error.key, error.at.epochMillis], [model, "order-17", at])
      assert.strictEqual(error.error?._tag, "ResponseTimeout")
      const [job] = yield* recorded
      assert.strictEqual(job?.info["client_key"], "order-17")
      yield* TestJobQueue.expectJobs(1)
    }).pipe(inQueue({ faults: [Fault.answerLost(Fault.noResponse)] })))

  it.effect("generates a different key for each submit", () =>
    Effect.gen(function*() {
      yield* JobRun.submit(request)
      yield* JobRun.submit(request)
      const keys = (yield* recorded).map(({ info }) => info["client_key"])
      assert.strictEqual(new Set(keys).size, 2)
      for (const key of keys) {
        assert.match(String(key), /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$/)
      }
    }).pipe(inQueue({ seed: "keys" })))

  it.effect("rejects, without a request, an invalid key and a key that would replace a field of info", () =>
    Effect.gen(function*() {
      const refused = (request: JobQueue.SubmitRequest, options: JobRun.SubmitOptions) =>
        Effect.map(Effect.flip(JobRun.submit(request, options)), (error) => {
          assert(error._tag === "InvalidRequest" && error.httpStatus === undefined, error.message)
          return error.detail
        })
      // the last would become another key on its way, and is no name of a file
      for (const key of ["", " ", "order-\ud800"]) {
        assert.include(yield* refused(request, { key }), "key: a key must not be blank, and must be well-formed")
      }
      assert.strictEqual(
        yield* refused({ ...request, info: { client_key: "mine" } }, { key: "order-17" }),
        "info.client_key: is where the key of the submit goes"
      )
      assert.include(yield* refused({ ...request, model: " " }, { key: "order-17" }), "must not be blank")
      // an invalid request stays invalid
      assert.include(yield* refused({ ...request, info: "abc" as never }, { key: "order-17" }), "info")
      assert.include(yield* refused(null as never, { key: "order-17" }), "model")
      assert.strictEqual((yield* TestJobQueue.counts).submit, 0)
      // info may contain the key already
      yield* JobRun.submit({ ...request, info: { client_key: "order-17" } }, { key: "order-17" })
      yield* TestJobQueue.expectJobs(1)
    }).pipe(inQueue({})))

  it.effect("interruption stops the request at once", () =>
    Effect.gen(function*() {
      yield* JobRun.submit(request).pipe(Effect.timeoutOption("1 second"))
      yield* TestJobQueue.expectNoCallsAfter("1 second")
    }).pipe(inQueue({ faults: [Fault.noResponse] })))
})

// -----------------------------------------------------------------------------

/** Runs an effect in virtual time. Returns its exit, and the warnings that it logged. */
const logged = <A, E>(
  options: TestJobQueue.Options,
  effect: Effect.Effect<A, E, JobQueue.JobQueue | JobWatcher.JobWatcher | TestJobQueue.TestJobQueue>
) =>
  Effect.gen(function*() {
    const warnings: Array<string> = []
    const logger = Logger.make(({ logLevel, message }) => {
      if (LogLevel.greaterThanEqual(logLevel, LogLevel.Warning)) warnings.push(String(message))
    })
    const exit = yield* Effect.exit(effect).pipe(
      VirtualTime.run,
      Effect.provide(
        Layer.mergeAll(
          TestJobQueue.layer(options),
          Epoch,
          Logger.replace(Logger.defaultLogger, logger)
        )
      )
    )
    return { exit, warnings }
  })

describe("a submit that is tried again", () => {
  const key = "order-17"
  const options: TestJobQueue.Options = {
    workers: finishing,
    faults: [
      Fault.refused.pipe(Fault.on("submit"), Fault.nth(1)),
      Fault.rateLimited("1 minute").pipe(Fault.on("submit"), Fault.nth(2)),
      Fault.unavailable({ retryAfter: "5 seconds" }).pipe(Fault.on("submit"), Fault.nth(3))
    ]
  }
  /** When each submit was sent, in the notation of the log. */
  const sent = Effect.map(
    TestJobQueue.calls,
    (calls) => calls.filter(({ operation }) => operation === "submit").map(({ at }) => new Date(at).toISOString())
  )

  const submits: ReadonlyArray<
    readonly [string, Effect.Effect<unknown, unknown, JobQueue.JobQueue | JobWatcher.JobWatcher>]
  > = [
    ["submit", JobRun.submit(request, { key })],
    ["scoped", Effect.scoped(JobRun.scoped(request, { key, onRelease: () => Effect.void }))],
    ["run", JobRun.run(request, { key })]
  ]
  for (const [name, submit] of submits) {
    it.effect(`is a warning of the log for each retry, with the error and the time of the next try: ${name}`, () =>
      Effect.gen(function*() {
        const { exit, warnings } = yield* logged(options, Effect.zipRight(submit, sent))
        assert(Exit.isSuccess(exit))
        const [, second, third, fourth] = exit.value
        assert.deepStrictEqual(warnings, [
          `submit ${model}: no answer from the service: connect ECONNREFUSED 127.0.0.1:8484; next try at ${second} (key ${key})`,
          `submit ${model}: too many requests (HTTP 429, retry after 1m): too many requests; next try at ${third} (key ${key})`,
          `submit ${model}: the service is not available (HTTP 503, retry after 5s): 503 Service unavailable; next try at ${fourth} (key ${key})`
        ])
      }))
  }

  it.effect("is an event for each retry instead, with the stage, the error and the time of the next try", () =>
    Effect.gen(function*() {
      const stage = JobStage.make("sum", {
        model,
        payload: Schema.Struct({ prompt: Schema.String }),
        outputs: Schema.Struct({ sum: Schema.Int })
      })({ prompt: "a cat" }, { key })
      const { exit, warnings } = yield* logged(
        options,
        Effect.all([Stream.runCollect(JobRun.events(stage)), sent])
      )
      assert(Exit.isSuccess(exit))
      const [events, [, ...retries]] = exit.value
      const delays = Array.from(events).slice(0, 3).map((event) => {
        assert(event._tag === "SubmitDelayed")
        assert.strictEqual(Option.getOrUndefined(event.stage), "sum")
        return [event.key, event.error._tag, DateTime.formatIso(event.nextTryAt)]
      })
      assert.deepStrictEqual(delays, [
        [key, "Unreachable", retries[0]],
        [key, "RateLimited", retries[1]],
        [key, "Unavailable", retries[2]]
      ])
      assert.strictEqual(Array.from(events)[3]?._tag, "Submitted")
      assert.deepStrictEqual(warnings, [])
    }))

  it.effect("is reported as well while an earlier job of its key is looked up", () =>
    Effect.gen(function*() {
      const { exit, warnings } = yield* logged(
        {
          faults: [
            Fault.unavailable().pipe(Fault.on("cancel")),
            Fault.unavailable().pipe(Fault.on("status"), Fault.during("8 seconds", "9 seconds"))
          ]
        },
        Effect.gen(function*() {
          // the journal has a cancel whose result is not known
          yield* Effect.timeoutOption(JobRun.run(request, { key, onRelease: () => Effect.void }), "3 seconds")
          yield* JobRun.submit(request, { key, retry: Schedule.spaced("2 seconds") })
        }).pipe(Effect.provide(SubmitJournal.layerMemory))
      )
      assert(Exit.isSuccess(exit))
      assert.strictEqual(warnings.length, 1)
      assert.match(
        warnings[0]!,
        /^status .*: the service is not available \(HTTP 503\): .*; next try at .* \(key order-17\)$/
      )
    }))

  it.effect("is not sent again once the consumer of the events stops", () =>
    Effect.gen(function*() {
      const first = yield* Stream.runHead(JobRun.events(JobRun.run(request)))
      assert.strictEqual(Option.getOrUndefined(first)?._tag, "SubmitDelayed")
      yield* Effect.sleep("1 hour")
      assert.strictEqual((yield* TestJobQueue.counts).submit, 1)
    }).pipe(inQueue({ faults: [Fault.rateLimited("1 minute").pipe(Fault.on("submit"))] })))
})

// -----------------------------------------------------------------------------

/**
 * Interrupts a submitting effect after some time, and asserts that no call and no fiber is left (also none of the
 * watcher, which outlives it). Returns the pending jobs and the reported releases.
 */
const interrupted = (
  after: number,
  own: (
    onRelease: (release: JobRun.Release) => Effect.Effect<void>
  ) => Effect.Effect<unknown, unknown, JobQueue.JobQueue | JobWatcher.JobWatcher>
) =>
  Effect.gen(function*() {
    const queue = yield* TestJobQueue.TestJobQueue
    const released: Array<JobRun.Release> = []
    const supervisor = yield* Supervisor.track
    const watcher = yield* Effect.supervised(JobWatcher.make(), supervisor)
    const fiber = yield* own((release) => Effect.sync(() => released.push(release))).pipe(
      Effect.provideService(JobWatcher.JobWatcher, watcher),
      Effect.supervised(supervisor),
      Effect.fork
    )
    yield* Effect.sleep(after)
    yield* Fiber.interrupt(fiber)
    const closed = yield* Clock.currentTimeMillis
    const exit = yield* Fiber.await(fiber)
    if (Exit.isFailure(exit) && Cause.isInterrupted(exit.cause)) {
      assert(Cause.isInterruptedOnly(exit.cause), Cause.pretty(exit.cause))
    }
    const jobs = yield* recorded
    const pending = jobs.filter(({ isPending }) => isPending).map(({ job }) => job)
    // the host releases a body that is not read any more in a turn of its own
    yield* Effect.sleep(1)
    const live = (yield* supervisor.value).filter((fiber) => fiber.unsafePoll() === null)
    yield* Effect.sleep("2 days")
    const late = (yield* queue.calls).filter(({ at, end }) => at > closed || end === undefined || end.at > closed)
    assert.deepStrictEqual(late, [])
    assert.strictEqual(live.length, 0)
    return { exit, pending, released, jobs, took: closed - queue.startedAt - after }
  }).pipe(Effect.scoped)

const noted = (releases: ReadonlyArray<JobRun.Release>) => releases.map(({ _tag }) => _tag)

describe("scoped", () => {
  const scoped = (onRelease: (release: JobRun.Release) => Effect.Effect<void>) =>
    Effect.scoped(Effect.zipRight(JobRun.scoped(request, { onRelease }), Effect.sleep("30 seconds")))

  it("law: an interruption at any time leaves no pending job, no later call and no live fiber", async () => {
    const { met, note } = tally()
    await FastCheck.assert(
      FastCheck.asyncProperty(
        pool,
        // each response arrives in time
        slowOn(["submit", "cancel"], 2_400),
        FastCheck.subarray([
          Fault.refused.pipe(Fault.on("submit"), Fault.nth(1)),
          Fault.rateLimited("2 seconds").pipe(Fault.on("submit"), Fault.nth(2)),
          Fault.unavailable({ status: 502 }).pipe(Fault.on("cancel"), Fault.nth(1)),
          Fault.notFound.pipe(Fault.on("cancel"), Fault.nth(1))
        ]),
        FastCheck.nat({ max: 40_000 }),
        async (workers, slow, faults, after) => {
          const { exit, pending, released, jobs } = await run(
            { workers, faults: [...slow, ...faults] },
            interrupted(after, scoped)
          )
          // a job that ran may be pending again, if its worker was lost
          const ran = released.some(({ _tag }) => _tag === "StillRunning")
          if (!ran) assert.deepStrictEqual(pending, [])
          assert.strictEqual(released.length, jobs.length, "each job is accounted for")
          note(Exit.isInterrupted(exit) ? "interrupted" : "closed")
          noted(released).forEach(note)
          if (jobs.length === 0) note("nothing was submitted")
        }
      ),
      { numRuns: runs(50, 100) }
    )
    met("interrupted", "closed", "Canceled", "StillRunning", "Ended", "nothing was submitted")
  })

  it("law: with any faults it closes in time, and a pending job that is left is reported", async () => {
    const { met, note } = tally()
    await FastCheck.assert(
      FastCheck.asyncProperty(
        pool,
        faultsOn("submit"),
        faultsOn("cancel"),
        FastCheck.nat({ max: 40_000 }),
        async (workers, onSubmit, onCancel, after) => {
          const { pending, released, took } = await run(
            { workers, faults: [...onSubmit, ...onCancel] },
            interrupted(after, scoped)
          )
          // the wait for the response to the submit, and for that to the cancel
          assert.isAtMost(took, 2 * Duration.toMillis(Duration.seconds(5)))
          if (pending.length > 0) {
            const [release] = noted(released)
            assert.include(["NotReleased", "Unknown", "StillRunning"], release)
          }
          noted(released).forEach(note)
        }
      ),
      { numRuns: runs(60, 120) }
    )
    met("Canceled", "NotReleased", "Unknown")
  })

  it.effect("cancels a job that is pending when the scope closes, and reports it", () =>
    Effect.gen(function*() {
      const released: Array<JobRun.Release> = []
      const job = yield* Effect.scoped(
        JobRun.scoped(request, { onRelease: (release) => Effect.sync(() => released.push(release)) })
      )
      assert.deepStrictEqual(released, [JobRun.Release.Canceled({ job })])
      assert.strictEqual((yield* JobQueue.status(job))._tag, "Canceled")
    }).pipe(inQueue({})))

  it.effect("reports a running job, and does not cancel it", () =>
    Effect.gen(function*() {
      const released: Array<JobRun.Release> = []
      const job = yield* Effect.scoped(
        JobRun.scoped(request, { onRelease: (release) => Effect.sync(() => released.push(release)) }).pipe(
          Effect.zipLeft(Effect.sleep("5 seconds"))
        )
      )
      assert.deepStrictEqual(released, [JobRun.Release.StillRunning({ job, status: "running" })])
      assert.deepStrictEqual(yield* JobStream.result(job), { sum: 3 })
    }).pipe(inQueue({ workers: finishing })))

  it.effect("reports a job that has ended, with its state", () =>
    Effect.gen(function*() {
      const released: Array<JobRun.Release> = []
      const onRelease = (release: JobRun.Release) => Effect.sync(() => released.push(release))
      const job = yield* Effect.scoped(
        Effect.tap(JobRun.scoped(request, { onRelease }), (job) => JobStream.result(job))
      )
      assert.deepStrictEqual(released, [JobRun.Release.Ended({ job, status: "done" })])
    }).pipe(inQueue({ workers: finishing })))

  it.effect("does not repeat a cancel that is refused", () =>
    Effect.gen(function*() {
      const released: Array<JobRun.Release> = []
      const onRelease = (release: JobRun.Release) => Effect.sync(() => released.push(release))
      yield* Effect.scoped(JobRun.scoped(request, { onRelease }))
      assert.deepStrictEqual([noted(released), (yield* TestJobQueue.counts).cancel], [["NotReleased"], 1])
    }).pipe(inQueue({ faults: [Fault.unauthorized.pipe(Fault.on("cancel"))] })))

  it.effect("never fails the close, even if the service is unavailable or `onRelease` dies", () =>
    Effect.gen(function*() {
      const released: Array<JobRun.Release> = []
      const start = yield* Clock.currentTimeMillis
      const job = yield* Effect.scoped(JobRun.scoped(request, {
        releaseTimeout: "3 seconds",
        onRelease: (release) => Effect.zipRight(Effect.sync(() => released.push(release)), Effect.dieMessage("broken"))
      }))
      assert.strictEqual((yield* Clock.currentTimeMillis) - start, 3_000)
      const [release] = released
      assert(release?._tag === "NotReleased")
      assert.deepStrictEqual([release.job, release.error._tag], [job, "Unavailable"])
      // it has retried all the time
      assert.isAbove((yield* TestJobQueue.counts).cancel, 3)
    }).pipe(inQueue({ faults: [Fault.unavailable().pipe(Fault.on("cancel"))] })))

  it.effect("cancels a job that a replica does not know yet, when the scope closes at once", () =>
    Effect.gen(function*() {
      const released: Array<JobRun.Release> = []
      const job = yield* Effect.scoped(
        JobRun.scoped(request, { onRelease: (release) => Effect.sync(() => released.push(release)) })
      )
      assert.deepStrictEqual(released, [JobRun.Release.Canceled({ job })])
    }).pipe(inQueue({ faults: [Fault.notFound.pipe(Fault.on("cancel"), Fault.nth(1, 3))] })))

  it.effect("cancels a job that a replica does not know yet, when it is interrupted during the submit", () =>
    Effect.gen(function*() {
      const { pending, released } = yield* interrupted(1_000, scoped)
      assert.deepStrictEqual([noted(released), pending], [["Canceled"], []])
      yield* TestJobQueue.expectJobs(1)
    }).pipe(inQueue({
      faults: [
        Fault.delay("2 seconds").pipe(Fault.on("submit")),
        Fault.notFound.pipe(Fault.on("cancel"), Fault.nth(1, 3))
      ]
    })))

  it.effect("reports a submit that was given up before its response", () =>
    Effect.gen(function*() {
      const { released, took } = yield* interrupted(1_000, (onRelease) =>
        Effect.scoped(JobRun.scoped(request, { key: "order-17", onRelease, releaseTimeout: "3 seconds" })))
      assert.deepStrictEqual(released, [JobRun.Release.Unknown({ model, key: "order-17" })])
      assert.strictEqual(took, 3_000)
    }).pipe(inQueue({ faults: [Fault.answerLost(Fault.noResponse)] })))

  it.effect("neither waits for a refused submit, nor sends it again", () =>
    Effect.gen(function*() {
      const { released, took } = yield* interrupted(10_000, scoped)
      assert.deepStrictEqual([released, took], [[], 0])
      assert.strictEqual((yield* TestJobQueue.counts).submit, 1)
    }).pipe(inQueue({ faults: [Fault.rateLimited("1 minute")] })))
})

// -----------------------------------------------------------------------------
describe("run", () => {
  it.effect("submits, watches, and returns the outputs, decoded if there is a schema", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* JobRun.run(request), { sum: 3 })
      const Sum = Schema.Struct({ sum: Schema.Int })
      assert.deepStrictEqual(yield* JobRun.run(request, Sum), { sum: 3 })
      const error = yield* Effect.flip(JobRun.run(request, Schema.Struct({ total: Schema.Int })))
      assert(error._tag === "InvalidOutputs")
      assert.deepStrictEqual(error.snapshot.outputs, { sum: 3 })
      const { cancel, submit } = yield* TestJobQueue.counts
      assert.deepStrictEqual([submit, cancel], [3, 0])
    }).pipe(inQueue({ workers: finishing })))

  it.effect("submits another job each time it is run", () =>
    Effect.gen(function*() {
      const job = JobRun.run(request)
      yield* Effect.all([job, job, job], { concurrency: "unbounded" })
      yield* TestJobQueue.expectJobs(3)
    }).pipe(inQueue({ workers: finishing })))

  it("law: an interruption at any time leaves no pending job, no later call and no live fiber", async () => {
    const { met, note } = tally()
    await FastCheck.assert(
      FastCheck.asyncProperty(
        pool,
        slowOn(["submit", "cancel", "status"], 2_400),
        FastCheck.nat({ max: 60_000 }),
        async (workers, faults, after) => {
          const { exit, jobs, pending, released } = await run(
            { workers, faults },
            interrupted(after, (onRelease) => JobRun.run(request, { onRelease }))
          )
          const ran = released.some(({ _tag }) => _tag === "StillRunning")
          if (!ran) assert.deepStrictEqual(pending, [])
          // a job whose end was seen needs no release
          const wasInterrupted = Exit.isInterrupted(exit)
          assert.strictEqual(released.length, wasInterrupted ? jobs.length : 0)
          note(wasInterrupted ? "interrupted" : "ended")
          noted(released).forEach(note)
        }
      ),
      { numRuns: runs(50, 100) }
    )
    met("interrupted", "ended", "Canceled", "StillRunning", "Ended")
  })

  it.effect("does not cancel the job with `onInterrupt: leave`, and stops at once", () =>
    Effect.gen(function*() {
      const { jobs, pending, released, took } = yield* interrupted(5_000, (onRelease) =>
        JobRun.run(request, { onInterrupt: "leave", onRelease }))
      assert.deepStrictEqual([jobs.length, pending.length, released, took], [1, 1, [], 0])
      assert.strictEqual((yield* TestJobQueue.counts).cancel, 0)
    }).pipe(inQueue({})))

  it.effect("cancels a pending job that it can't watch any longer", () =>
    Effect.gen(function*() {
      const released: Array<JobRun.Release> = []
      const onRelease = (release: JobRun.Release) => Effect.sync(() => released.push(release))
      const error = yield* Effect.flip(JobRun.run(request, { retry: Schedule.stop, onRelease }))
      assert(error._tag === "Unavailable" && error.job !== undefined)
      assert.deepStrictEqual(released, [JobRun.Release.Canceled({ job: error.job })])
      const left = yield* Effect.flip(JobRun.run(request, { retry: Schedule.stop, onInterrupt: "leave" }))
      assert(left._tag === "Unavailable" && left.job !== undefined)
      assert.strictEqual((yield* JobQueue.status(left.job).pipe(Effect.retry(Schedule.recurs(1))))._tag, "Pending")
    }).pipe(inQueue({ faults: [Fault.unavailable().pipe(Fault.on("status"), Fault.nth(1, 3))] })))

  it.effect("retries the cancel of a new job that a replica does not know, and not that of a job that was seen", () =>
    Effect.gen(function*() {
      const unseen = yield* interrupted(500, (onRelease) => JobRun.run(request, { onRelease }))
      assert.deepStrictEqual([noted(unseen.released), unseen.pending], [["Canceled"], []])
      yield* TestJobQueue.expectJobs(1)
      const start = yield* Clock.currentTimeMillis
      const seen: Array<JobRun.Release> = []
      const onRelease = (release: JobRun.Release) => Effect.sync(() => seen.push(release))
      yield* Effect.timeoutOption(JobRun.run(request, { onRelease }), "5 seconds")
      assert.deepStrictEqual([noted(seen), (yield* Clock.currentTimeMillis) - start], [["NotReleased"], 5_000])
      assert(seen[0]?._tag === "NotReleased" && seen[0].error._tag === "JobNotFound")
    }).pipe(inQueue({
      faults: [
        // the first job is not seen in time (after a second its poll would be sent again), and its first three cancels
        // reach replicas that do not know it
        Fault.delay("2 seconds").pipe(Fault.on("status"), Fault.nth(1)),
        Fault.notFound.pipe(Fault.on("cancel"), Fault.nth(1, 3)),
        Fault.notFound.pipe(Fault.on("cancel"), Fault.during("1 day"))
      ]
    })))

  it.effect("a deadline that cancels a pending job does so once, 50 ms after it has passed, and leaves a running job alone", () =>
    Effect.gen(function*() {
      const released: Array<JobRun.Release> = []
      const options: JobRun.RunOptions = {
        deadline: Deadline.cancelPending(Deadline.total("5 seconds")),
        onRelease: (release) => Effect.sync(() => released.push(release))
      }
      const pending = yield* Effect.flip(JobRun.run({ ...request, model: "my-org/idle" }, options))
      assert(pending._tag === "WatchTimeout")
      assert.strictEqual(pending.cancel?._tag, "Canceled")
      const start = yield* TestJobQueue.startedAt
      const cancels = (yield* TestJobQueue.calls).filter(({ operation }) => operation === "cancel")
      assert.deepStrictEqual(cancels.map(({ at }) => at - start), [5_050])
      const running = yield* Effect.flip(JobRun.run(request, options))
      assert(running._tag === "WatchTimeout")
      assert.strictEqual(running.cancel, undefined)
      assert.deepStrictEqual(noted(released), ["Canceled", "StillRunning"])
    }).pipe(inQueue({ workers: { ...finishing, model } })))

  it.effect("a deadline begins after the submit and its retries, and a timeout of the run includes them", () =>
    Effect.gen(function*() {
      const released: Array<JobRun.Release> = []
      const onRelease = (release: JobRun.Release) => Effect.sync(() => released.push(release))
      const ended = (timeout: Duration.DurationInput) =>
        Effect.gen(function*() {
          const start = yield* Clock.currentTimeMillis
          const run = JobRun.run(request, { deadline: "10 seconds", onRelease })
          const error = yield* Effect.flip(Effect.timeout(run, timeout))
          return [error._tag, (yield* Clock.currentTimeMillis) - start, noted(released.splice(0))]
        })
      // the submit waits for 30 seconds
      assert.deepStrictEqual(yield* ended("1 minute"), ["WatchTimeout", 40_000, ["Canceled"]])
      assert.deepStrictEqual(yield* ended("20 seconds"), ["TimeoutException", 20_000, []])
      // the next one does not
      assert.deepStrictEqual(yield* ended("5 seconds"), ["TimeoutException", 5_000, ["Canceled"]])
      assert.deepStrictEqual((yield* recorded).map(({ isPending }) => isPending), [false, false])
    }).pipe(inQueue({
      faults: [1, 3].map((nth) => Fault.rateLimited("30 seconds").pipe(Fault.on("submit"), Fault.nth(nth)))
    })))

  it.effect("fifty runs at once share the poll budget of their watcher", () =>
    Effect.gen(function*() {
      const budget = 5
      yield* Effect.all(Array.from({ length: 50 }, () => JobRun.run(request)), { concurrency: "unbounded" }).pipe(
        Effect.timeoutOption("10 seconds"),
        Effect.provide(JobWatcher.layer({ pollsPerSecond: budget }))
      )
      const { cancel, status, submit } = yield* TestJobQueue.counts
      assert.deepStrictEqual([submit, cancel], [50, 50])
      // the polls at both ends of the ten seconds are included
      assert.isAtMost(status, 10 * budget + 1)
      const polls = (yield* TestJobQueue.calls).filter(({ operation }) => operation === "status")
      for (const [i, { at }] of polls.entries()) {
        if (i >= budget) assert.isAtLeast(at - polls[i - budget]!.at, 1_000)
      }
      // every job is polled
      assert.strictEqual(new Set(polls.map(({ requestId }) => requestId)).size, 50)
    }).pipe(inQueue({})))

  it.effect("a job that a deadline of its watch has canceled is not canceled again", () =>
    Effect.gen(function*() {
      const released: Array<JobRun.Release> = []
      const error = yield* Effect.flip(JobRun.run(request, {
        deadline: Deadline.cancelPending(Deadline.pending("5 seconds")),
        onRelease: (release) => Effect.sync(() => released.push(release))
      }))
      assert(error._tag === "PendingTooLong" && error.cancel?._tag === "Canceled")
      assert.deepStrictEqual(noted(released), ["Canceled"])
      assert.strictEqual((yield* TestJobQueue.counts).cancel, 1)
    }).pipe(inQueue({})))

  it.effect("repeated after a transient error, continues with its running job, if it has a key and a journal", () =>
    Effect.gen(function*() {
      const outputs = yield* JobRun.run(request, { key: "order-17", retry: Schedule.stop, cadence: "1 second" }).pipe(
        Effect.retry({ while: QueueError.isTransient, schedule: Schedule.spaced("2 seconds") })
      )
      assert.deepStrictEqual(outputs, { sum: 3 })
      yield* TestJobQueue.expectJobs(1)
      const ends = (yield* TestJobQueue.calls).map(({ end, operation }) => `${operation} ${end?.outcome}`)
      assert.include(ends, "status Unavailable")
    }).pipe(
      Effect.provide(SubmitJournal.layerMemory),
      inQueue({
        workers: finishing,
        faults: [Fault.unavailable().pipe(Fault.on("status"), Fault.during("5 seconds", "6 seconds"))]
      })
    ))

  it.effect("a failed job is an error, and needs no release", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(JobRun.run(request))
      assert(error._tag === "JobFailed")
      assert.strictEqual(error.reason, "CUDA out of memory")
      assert.strictEqual((yield* TestJobQueue.counts).cancel, 0)
    }).pipe(inQueue({ workers: { script: Worker.always(Worker.fail("1 second", "CUDA out of memory")) } })))
})

// -----------------------------------------------------------------------------
describe("resubmit", () => {
  const twice = Schedule.intersect(Schedule.spaced("1 minute"), Schedule.recurs(2))
  const dying: Worker.Pool = { script: Worker.always(Worker.stopResponding), claimTimeout: "1 second" }

  it.effect("submits again under another key after a job has exhausted its retries", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* JobRun.run(request, { key: "order-17", resubmit: twice }), { sum: 3 })
      const jobs = yield* recorded
      assert.deepStrictEqual(jobs.map(({ info }) => info["client_key"]), ["order-17", "order-17/2"])
      const [, second] = (yield* TestJobQueue.calls).filter(({ operation }) => operation === "submit")
      assert.isAtLeast(second!.at - (yield* TestJobQueue.startedAt), 60_000)
    }).pipe(inQueue({
      workers: {
        claimTimeout: "1 second",
        script: ({ nth }) => nth === 1 ? [Worker.stopResponding] : [Worker.finish("1 second", { sum: 3 })]
      }
    })))

  it.effect("fails with the error of the last job when the schedule ends", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(JobRun.run(request, { resubmit: twice }))
      assert(error._tag === "JobRetriesExhausted")
      const jobs = yield* recorded
      assert.deepStrictEqual([jobs.length, jobs.at(-1)?.job], [3, error.job])
      for (const { info } of jobs) assert.match(String(info["client_key"]), /^[\da-f-]{36}$/)
    }).pipe(inQueue({ workers: dying })))

  it.effect("is a warning of the log, with the job that was lost and the time of the next submit", () =>
    Effect.gen(function*() {
      const run = Effect.flip(JobRun.run(request, { resubmit: twice }))
      const { exit, warnings } = yield* logged({ workers: dying }, Effect.zip(run, TestJobQueue.calls))
      assert(Exit.isSuccess(exit))
      const submits = exit.value[1].filter(({ operation }) => operation === "submit")
      assert.deepStrictEqual(
        warnings.map((warning) => warning.replace(/^\S+: /, "")),
        submits.slice(1).map(({ at }) =>
          `given up by the service after 4 lost attempts; submitted again at ${new Date(at).toISOString()}`
        )
      )
      assert.strictEqual(warnings.length, 2)
    }))

  it.effect("several runs can share a limit: a schedule that counts for all of them", () =>
    Effect.gen(function*() {
      const left = yield* Ref.make(3)
      const resubmit = twice.pipe(
        Schedule.whileInputEffect(() => Ref.modify(left, (left) => [left > 0, Math.max(0, left - 1)]))
      )
      const runs = Array.from({ length: 4 }, () => JobRun.run(request, { resubmit }))
      const exits = yield* Effect.all(runs, { concurrency: "unbounded", mode: "either" })
      for (const exit of exits) assert(Either.isLeft(exit) && exit.left._tag === "JobRetriesExhausted")
      yield* TestJobQueue.expectJobs(4 + 3)
    }).pipe(inQueue({ workers: dying })))

  it.effect("does not submit again if the model failed the job, or without `resubmit`", () =>
    Effect.gen(function*() {
      const failed = yield* Effect.flip(JobRun.run({ ...request, model: "failing" }, { resubmit: twice }))
      const lost = yield* Effect.flip(JobRun.run(request))
      assert.deepStrictEqual([failed._tag, lost._tag], ["JobFailed", "JobRetriesExhausted"])
      yield* TestJobQueue.expectJobs(2)
    }).pipe(inQueue({
      workers: {
        claimTimeout: "1 second",
        script: ({ job }) => job.model === "failing" ? [Worker.fail("1 second", "no")] : [Worker.stopResponding]
      }
    })))

  it.effect("leaves a failed job to its app, which submits another one under another key", () =>
    Effect.gen(function*() {
      const key = "order-17"
      // with the same key it is the same job
      const same = JobRun.run(request, { key, resubmit: twice }).pipe(Effect.retry({ times: 2 }))
      assert.strictEqual((yield* Effect.flip(same))._tag, "JobFailed")
      yield* TestJobQueue.expectJobs(1)
      const attempt = (
        nth: number
      ): Effect.Effect<unknown, QueueError.RunError, JobQueue.JobQueue | JobWatcher.JobWatcher> =>
        JobRun.run(request, { key: nth === 1 ? key : `${key}/try-${nth}` }).pipe(
          Effect.catchTag("JobFailed", (error) => nth < 3 ? attempt(nth + 1) : Effect.fail(error))
        )
      assert.deepStrictEqual(yield* attempt(1), { sum: 3 })
      assert.deepStrictEqual((yield* recorded).map(({ info }) => info["client_key"]), [key, `${key}/try-2`])
    }).pipe(
      Effect.provide(SubmitJournal.layerMemory),
      inQueue({
        workers: {
          script: ({ nth }) => nth === 1 ? [Worker.fail("1 second", "no")] : [Worker.finish("1 second", { sum: 3 })]
        }
      })
    ))

  it.effect("resumes with its current job after a restart, if there is a journal", () =>
    Effect.gen(function*() {
      const resumed = JobRun.run(request, { key: "order-17", resubmit: twice, onInterrupt: "leave" })
      yield* Effect.timeoutOption(resumed, "70 seconds")
      const { submit } = yield* TestJobQueue.counts
      assert.strictEqual(submit, 2)
      assert.deepStrictEqual(yield* resumed, { sum: 3 })
      yield* TestJobQueue.expectJobs(2)
    }).pipe(
      Effect.provide(SubmitJournal.layerMemory),
      inQueue({
        workers: {
          claimTimeout: "1 second",
          script: ({ nth }) => nth === 1 ? [Worker.stopResponding] : [Worker.finish("1 minute", { sum: 3 })]
        }
      })
    ))
})

// -----------------------------------------------------------------------------
describe("a race", () => {
  const models = ["my-org/a", "my-org/b", "my-org/c", "my-org/d"]
  const leg = (model: string) => JobRun.run({ model, payload: {} })

  it("law: it leaves no pending loser, and reports every job that continues once", async () => {
    const { met, note } = tally()
    await FastCheck.assert(
      FastCheck.asyncProperty(
        FastCheck.array(pool, { minLength: 1, maxLength: models.length }),
        slowOn(["submit", "cancel", "status"], 2_000),
        FastCheck.option(FastCheck.nat({ max: 60_000 }), { nil: undefined }),
        async (pools, faults, after) => {
          const released: Array<JobRun.Release> = []
          const legs = pools.map((_, i) =>
            JobRun.run({ model: models[i]!, payload: {} }, {
              onRelease: (release) => Effect.sync(() => released.push(release))
            })
          )
          const { exit, jobs, pending } = await run(
            { workers: pools.map((pool, i) => ({ ...pool, model: models[i]! })), faults },
            interrupted(after ?? 2 * 86_400_000, () => Effect.raceAll(legs))
          )
          released.forEach(({ _tag }) => note(_tag))
          note(Exit.isSuccess(exit) ? "won" : Exit.isInterrupted(exit) ? "interrupted" : "failed")
          const running = released.flatMap((_) => _._tag === "StillRunning" ? [_.job.requestId] : [])
          if (after === undefined) { for (const job of pending) assert.include(running, job.requestId) }
          const ids = released.flatMap((_) => "job" in _ ? [_.job.requestId] : [])
          assert.strictEqual(new Set(ids).size, ids.length, "none is released twice")
          assert.isAtMost(ids.length, jobs.length)
        }
      ),
      { numRuns: runs(50, 100) }
    )
    met("won", "failed", "interrupted", "Canceled", "StillRunning")
  })

  const speeds = (times: { readonly [model: string]: number }): Worker.Pool => ({
    workers: 3,
    script: ({ job }) => [Worker.finish(times[job.model]!, { by: job.model })]
  })

  it.effect("returns the first result, cancels pending jobs, and reports running ones", () =>
    Effect.gen(function*() {
      const released: Array<JobRun.Release> = []
      const first = yield* JobRun.events(Effect.raceAll([leg("my-org/a"), leg("my-org/b"), leg("my-org/c")])).pipe(
        Stream.tap((event) => Effect.sync(() => event._tag === "Released" && released.push(event.release))),
        Stream.runLast
      )
      assert.deepStrictEqual(Option.getOrUndefined(first), { _tag: "Succeeded", value: { by: "my-org/b" } })
      assert.sameDeepMembers(released.map((_) => "job" in _ ? [_._tag, _.job.model] : []), [
        ["StillRunning", "my-org/a"],
        ["Canceled", "my-org/c"]
      ])
    }).pipe(inQueue({
      workers: [
        { ...speeds({ "my-org/a": 60_000 }), model: "my-org/a" },
        { ...speeds({ "my-org/b": 10_000 }), model: "my-org/b" }
      ]
    })))

  it.effect("a hedge is a delay: the second job is submitted only if the first takes longer", () =>
    Effect.gen(function*() {
      const hedged = (after: Duration.DurationInput) =>
        Effect.raceAll([leg("my-org/a"), Effect.delay(leg("my-org/b"), after)])
      assert.deepStrictEqual(yield* hedged("30 seconds"), { by: "my-org/a" })
      yield* TestJobQueue.expectJobs(1)
      assert.deepStrictEqual(yield* hedged("5 seconds"), { by: "my-org/b" })
      yield* TestJobQueue.expectJobs(3)
    }).pipe(inQueue({ workers: speeds({ "my-org/a": 20_000, "my-org/b": 1_000 }) })))

  it.effect("two of three: a stream emits the results as they arrive, and two are taken", () =>
    Effect.gen(function*() {
      const two = yield* Stream.fromIterable(["my-org/a", "my-org/b", "my-org/c"]).pipe(
        Stream.mapEffect((model) => Effect.either(leg(model)), { concurrency: "unbounded", unordered: true }),
        Stream.filterMap(Either.getRight),
        Stream.take(2),
        Stream.runCollect
      )
      assert.deepStrictEqual(Array.from(two), [{ by: "my-org/c" }, { by: "my-org/b" }])
      const states = yield* Effect.forEach(yield* TestJobQueue.jobs, JobQueue.status)
      assert.deepStrictEqual(states.map(({ _tag, job }) => [job.model, _tag]), [
        ["my-org/a", "Canceled"],
        ["my-org/b", "Done"],
        ["my-org/c", "Done"]
      ])
    }).pipe(inQueue({
      workers: ["my-org/b", "my-org/c"].map((model) => ({
        ...speeds({ "my-org/b": 20_000, "my-org/c": 10_000 }),
        model
      }))
    })))
})

// -----------------------------------------------------------------------------
describe("a submit whose response is lost is reported, in every combination of runs", () => {
  const uncertain = JobRun.run({ model: "my-org/lost", payload: {} }, { key: "order-17" })
  const good = JobRun.run({ model: "my-org/good", payload: {} })
  const options: TestJobQueue.Options = {
    workers: { ...finishing, model: "my-org/good" },
    faults: [Fault.answerLost().pipe(Fault.on("submit"), Fault.ofModel("my-org/lost"))]
  }
  const unknown = JobRun.Release.Unknown({ model: "my-org/lost", key: "order-17" })
  const line = "my-org/lost: it is not known whether there is a job (key order-17)"

  const combined: ReadonlyArray<
    readonly [how: string, effect: Effect.Effect<unknown, unknown, JobQueue.JobQueue | JobWatcher.JobWatcher>]
  > = [
    ["Effect.raceAll", Effect.raceAll([uncertain, good])],
    ["Effect.all", Effect.all([good, uncertain], { concurrency: "unbounded" })],
    [
      "Effect.all in which another fails first",
      Effect.all([Effect.fail("no"), uncertain], { concurrency: "unbounded" })
    ],
    ["Effect.orElse", Effect.orElse(uncertain, () => good)],
    ["Effect.option", Effect.option(uncertain)],
    ["a scope", Effect.option(Effect.scoped(JobRun.scoped({ model: "my-org/lost", payload: {} }, { key: "order-17" })))]
  ]
  for (const [how, effect] of combined) {
    it.effect(`in the log, by ${how}`, () =>
      Effect.map(logged(options, effect), ({ warnings }) =>
        // without the warnings about a job that continues
        assert.deepStrictEqual(warnings.filter((warning) => !warning.startsWith("my-org/good/")), [line])))
  }

  it.effect("to onRelease instead, and among the events", () =>
    Effect.gen(function*() {
      const released: Array<JobRun.Release> = []
      const onRelease = (release: JobRun.Release) => Effect.sync(() => released.push(release))
      const heard: Array<JobRun.RunEvent> = []
      const events = Stream.runForEach(
        JobRun.events(Effect.raceAll([
          JobRun.run({ model: "my-org/lost", payload: {} }, { key: "order-17", onRelease }),
          good
        ])),
        (event) => Effect.sync(() => event._tag === "Released" && heard.push(event))
      )
      const { warnings } = yield* logged(options, events)
      assert.deepStrictEqual(released, [unknown])
      assert.deepStrictEqual(heard.map((event) => event._tag === "Released" && event.release), [unknown])
      assert.deepStrictEqual(warnings, [])
    }))

  it("law: every job without a Submitted event is reported, by its key or its release", async () => {
    const { met, note } = tally()
    await FastCheck.assert(
      FastCheck.asyncProperty(
        pool,
        faultsOn("submit"),
        slowOn(["submit"], 3_000),
        FastCheck.integer({ min: 1, max: 3 }),
        FastCheck.constantFrom("raceAll", "all"),
        async (workers, faults, slow, legs, how) => {
          await run(
            { workers, faults: [...faults, ...slow] },
            Effect.gen(function*() {
              const released: Array<JobRun.Release> = []
              const known = new Set<string>()
              const all = Array.from({ length: legs }, (_, i) => JobRun.run(request, { key: `order-${i}` }))
              const combined: Effect.Effect<unknown, unknown, JobQueue.JobQueue | JobWatcher.JobWatcher> =
                how === "raceAll"
                  ? Effect.raceAll(all)
                  : Effect.all(all, { concurrency: "unbounded" })
              yield* Effect.exit(Stream.runForEach(JobRun.events(combined), (event) =>
                Effect.sync(() => {
                  if (event._tag === "Submitted") known.add(event.key)
                  if (event._tag === "Released") released.push(event.release)
                })))
              yield* Effect.sleep("1 day")
              const keys = released.flatMap((release) => release._tag === "Unknown" ? [release.key] : [])
              const ids = released.flatMap((release) => "job" in release ? [release.job.requestId] : [])
              for (const { info, job } of yield* recorded) {
                const key = String(info["client_key"])
                note(known.has(key) ? "known" : keys.includes(key) ? "unknown" : "given back at once")
                if (!known.has(key) && !keys.includes(key)) assert.include(ids, job.requestId)
              }
            })
          )
        }
      ),
      { numRuns: runs(30, 60) }
    )
    met("known", "unknown")
  })
})

// -----------------------------------------------------------------------------
describe("events", () => {
  const say = (event: JobRun.Event<unknown>): string =>
    event._tag === "Observed"
      ? `${event.job.model} ${event.event._tag}`
      : event._tag === "Submitted"
      ? `${event.job.model} submitted`
      : event._tag === "SubmitDelayed"
      ? `${event.error.model} ${event.error._tag}`
      : event._tag === "Released"
      ? event.release._tag
      : `= ${JSON.stringify(event.value)}`

  it.effect("do not delay the release of the jobs when their consumer stops", () =>
    Effect.gen(function*() {
      const start = yield* Clock.currentTimeMillis
      const jobs = Effect.all(Array.from({ length: 20 }, () => JobRun.run(request)), { concurrency: "unbounded" })
      yield* JobRun.events(jobs).pipe(Stream.take(1), Stream.runDrain)
      assert.isBelow((yield* Clock.currentTimeMillis) - start, 1_000)
      for (const { isPending } of yield* recorded) assert(!isPending)
    }).pipe(inQueue({})))

  it.effect("report every run in an effect, and then its value", () =>
    Effect.gen(function*() {
      const pipeline = Effect.flatMap(
        JobRun.run({ model: "a", payload: {} }),
        () => JobRun.run({ model: "b", payload: {} })
      )
      const events = yield* Stream.runCollect(JobRun.events(pipeline))
      assert.deepStrictEqual(Array.from(events, say), [
        ...["a", "b"].flatMap((model) => [
          `${model} submitted`,
          `${model} Queued`,
          `${model} Claimed`,
          `${model} Completed`
        ]),
        "= {\"sum\":3}"
      ])
    }).pipe(inQueue({ workers: finishing })))

  it.effect("are those of all runs in their effect, also within the events of another effect, and of no run beside it", () =>
    Effect.gen(function*() {
      const inner: Array<string> = []
      const listened = JobRun.events(JobRun.run({ model: "inner", payload: {} })).pipe(
        Stream.runForEach((event) => Effect.sync(() => inner.push(say(event))))
      )
      const outer = JobRun.events(Effect.zipRight(listened, JobRun.run({ model: "outer", payload: {} })))
      const [seen] = yield* Effect.all([Stream.runCollect(outer), JobRun.run({ model: "beside", payload: {} })], {
        concurrency: 2
      })
      assert.deepStrictEqual(inner.at(-1), "= {\"sum\":3}")
      assert.deepStrictEqual(inner.slice(0, -1).every((text) => text.startsWith("inner ")), true)
      const steps = ["submitted", "Queued", "Claimed", "Completed"]
      assert.deepStrictEqual(
        Array.from(seen, say).slice(0, -1),
        ["inner", "outer"].flatMap((model) => steps.map((step) => `${model} ${step}`))
      )
    }).pipe(inQueue({ workers: finishing })))

  it.effect("leave the effect the scope of the program: its job outlasts the stream", () =>
    Effect.gen(function*() {
      const last = yield* Stream.runLast(JobRun.events(JobRun.scoped(request)))
      assert(Option.isSome(last) && last.value._tag === "Succeeded")
      assert.strictEqual((yield* JobQueue.status(last.value.value))._tag, "Pending")
    }).pipe(Effect.scoped, inQueue({})))

  it.effect("fail with the error of the effect, after all its events", () =>
    Effect.gen(function*() {
      const seen: Array<string> = []
      const error = yield* JobRun.events(JobRun.run(request)).pipe(
        Stream.runForEach((event) => Effect.sync(() => seen.push(say(event)))),
        Effect.flip
      )
      assert.strictEqual(error._tag, "JobFailed")
      assert.strictEqual(seen.at(-1), `${model} FailedByModel`)
    }).pipe(inQueue({ workers: { script: Worker.always(Worker.fail("1 second", "no")) } })))

  it.effect("a consumer that stops interrupts the effect, which cancels its jobs, whether the buffer is full or not", () =>
    Effect.gen(function*() {
      for (const jobs of [1, 40]) {
        const before = (yield* TestJobQueue.jobs).length
        const runs = Effect.all(Array.from({ length: jobs }, () => JobRun.run(request)), { concurrency: "unbounded" })
        yield* JobRun.events(runs).pipe(
          Stream.take(1),
          Stream.runForEach(() => Effect.sleep("10 seconds"))
        )
        const states = yield* Effect.forEach((yield* TestJobQueue.jobs).slice(before), JobQueue.status)
        assert.deepStrictEqual(states.map(({ _tag }) => _tag), Array.from({ length: jobs }, () => "Canceled"))
      }
    }).pipe(inQueue({})))

  it.effect("a slow consumer delays the effect, and misses no transition but progress", () =>
    Effect.gen(function*() {
      const steps = 60
      const seen = yield* JobRun.events(JobRun.run(request, { cadence: Schedule.spaced("1 second") })).pipe(
        Stream.mapEffect((event) => Effect.delay(Effect.succeed(say(event)), "2 seconds")),
        Stream.runCollect
      )
      const texts = Array.from(seen)
      assert.deepStrictEqual(texts.filter((text) => !text.endsWith("Progressed")), [
        `${model} submitted`,
        `${model} Queued`,
        `${model} Claimed`,
        `${model} Completed`,
        "= {\"sum\":3}"
      ])
      // pending events were conflated: the job was polled at its cadence, and progress was left out
      assert.isBelow(texts.length, steps)
      const [job] = yield* TestJobQueue.jobs
      yield* TestJobQueue.expectPolls(job!, steps + 2)
    }).pipe(inQueue({
      workers: { script: () => [...Worker.progressInSteps(60, "1 second"), Worker.finish("1 second", { sum: 3 })] }
    })))
})

// -----------------------------------------------------------------------------
describe("over HTTP", () => {
  /** The queue of an emulator, over one of the clients. */
  const overHttp = (client: Layer.Layer<Clients.Client>, options: Emulator.Options) =>
    watched(Layer.scoped(
      JobQueue.JobQueue,
      Effect.flatMap(
        Emulator.Emulator,
        ({ baseUrl }) => Clients.make({ baseUrl, apiKey: Redacted.make("any"), requestTimeout: "5 minutes" })
      )
    )).pipe(Layer.provideMerge(Emulator.layer(options)), Layer.provide(client))

  for (const { layer, name } of Clients.clients) {
    it.live(`over ${name}, a job is canceled when its run is interrupted, during the submit or the watch`, () =>
      Effect.gen(function*() {
        const { requests } = yield* Emulator.Emulator
        const released: Array<JobRun.Release> = []
        const onRelease = (release: JobRun.Release) => Effect.sync(() => released.push(release))
        const hasCome = (path: string): Effect.Effect<void> =>
          Effect.flatMap(
            requests,
            (all) => all.some(({ url }) => url.startsWith(path)) ? Effect.void : Effect.delay(hasCome(path), "5 millis")
          )
        // during the submit, and during the watch
        for (const path of ["/v1/queue/submit", "/v1/queue/status"]) {
          const fiber = yield* Effect.fork(JobRun.run(request, { onRelease }))
          yield* hasCome(path)
          yield* Fiber.interrupt(fiber)
        }
        assert.deepStrictEqual(noted(released), ["Canceled", "Canceled"])
        for (const release of released) {
          assert(release._tag === "Canceled")
          assert.strictEqual((yield* JobQueue.status(release.job))._tag, "Canceled")
        }
        const before = (yield* requests).length
        yield* Effect.sleep("1 second")
        assert.strictEqual((yield* requests).length, before)
      }).pipe(Effect.provide(overHttp(layer, { faults: [Fault.delay("200 millis").pipe(Fault.on("submit"))] }))))

    it.live(`over ${name}, a submit whose response is lost is sent once, and its job has the key`, () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(JobRun.submit(request, { key: "order-17" }))
        assert(error._tag === "SubmitUncertain" && error.error?._tag === "Unreachable")
        const { requests } = yield* Emulator.Emulator
        assert.deepStrictEqual((yield* requests).map(({ url }) => url), ["/v1/queue/submit"])
        assert.strictEqual((yield* JobQueue.metrics(model)).waiting, 1)
      }).pipe(Effect.provide(overHttp(layer, { faults: [Fault.answerLost().pipe(Fault.on("submit"))] }))))
  }
})

// -----------------------------------------------------------------------------
describe("SubmitUncertain", () => {
  it("survives a round trip through JSON", () => {
    const error = new QueueError.SubmitUncertain({
      model,
      key: "k",
      at: Schema.decodeSync(Schema.DateTimeUtc)("2026-02-07T10:30:00Z")
    })
    const back = Schema.decodeUnknownSync(QueueError.RunError)(
      JSON.parse(JSON.stringify(Schema.encodeSync(QueueError.RunError)(error)))
    )
    assert.strictEqual(back.message, error.message)
  })
})
