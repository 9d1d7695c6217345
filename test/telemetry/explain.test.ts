import { assert, describe, it } from "@effect/vitest"
import {
  DateTime,
  Duration,
  Effect,
  Either,
  FastCheck,
  Layer,
  Logger,
  LogLevel,
  Option,
  Schedule,
  Schema,
  type Scope,
  Stream
} from "effect"
import type { Transition } from "effect-queue-status"
import { Job, JobQueue, JobStream, JobTelemetry, JobWatcher, LearnedCadence } from "effect-queue-status"
import { Arbitraries, Fault, TestJobQueue, Worker } from "effect-queue-status/testing"
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { explain } from "../../src/telemetry/internal/explanation.js"
import { Epoch } from "../fixtures/epoch.js"
import { runs } from "../fixtures/runs.js"
import { inTime } from "../fixtures/watching.js"

const model = "my-org/video-generator"

const submit = (priority: number) => JobQueue.submit({ model, payload: {}, priority })

/** The history of each job of the queue. */
const histories = Effect.flatMap(
  TestJobQueue.TestJobQueue,
  ({ jobs, transitions }) =>
    Effect.flatMap(jobs, Effect.forEach((job) => Effect.map(transitions(job), (steps) => [job, steps] as const)))
)

type Steps = ReadonlyArray<Transition.Transition>

const phaseOf = (steps: Steps): "waiting" | "running" | "ended" => {
  switch (steps.at(-1)!._tag) {
    case "Queued":
    case "Requeued":
      return "waiting"
    case "Claimed":
    case "Progressed":
      return "running"
    default:
      return "ended"
  }
}

const outcomes: { readonly [tag: string]: string } = {
  Completed: "Done",
  FailedByModel: "Failed",
  RetriesExhausted: "Failed",
  Canceled: "Canceled"
}

const isBefore = (a: Job.JobStatus, b: Job.JobStatus): boolean => {
  const [priority, other] = [a, b].map(({ priority }) => Option.getOrThrow(priority))
  const [at, otherAt] = [a, b].map(({ createdAt }) => Option.getOrThrow(createdAt).epochMillis)
  return priority! > other! || (priority === other && at! < otherAt!)
}

/** Asserts that a cause agrees with the history of the job and of all jobs of its model. */
const assertTrue = (cause: JobTelemetry.Cause, now: number, steps: Steps, all: ReadonlyArray<Steps>) => {
  const count = (phase: string) => all.filter((steps) => phaseOf(steps) === phase).length
  /** Whether a job was in a phase at some time since the evidence. */
  const wasIn = (steps: Steps, phase: string) =>
    steps.some((_, i) =>
      phaseOf(steps.slice(0, i + 1)) === phase &&
      (steps[i + 1]?.observedAt.epochMillis ?? now) >= now - Duration.toMillis(cause.age)
    )
  const first = steps[0]!
  const last = steps.at(-1)!
  switch (cause._tag) {
    case "Ended":
      assert.strictEqual(cause.outcome, outcomes[last._tag])
      if (Option.isSome(cause.at)) assert.deepStrictEqual(cause.at, last.at)
      return
    case "Running": {
      assert.isTrue(wasIn(steps, "running"))
      const claims = steps.flatMap(({ _tag, at }) => _tag === "Claimed" ? Option.toArray(at) : [])
      if (Option.isSome(cause.since)) assert.deepInclude(claims, cause.since.value)
      return
    }
    case "NoChange":
      assert.isTrue(wasIn(steps, "running"))
      assert.isAtMost(cause.since.epochMillis, now - Duration.toMillis(cause.age) - 60_000)
      return
    case "NoneRunning":
      assert.strictEqual(phaseOf(steps), "waiting")
      assert.strictEqual(count("running"), 0)
      return
    case "Waiting":
      assert.isTrue(wasIn(steps, "waiting"))
      if (Option.isSome(cause.createdAt)) assert.deepStrictEqual(cause.createdAt, steps[0]!.at)
      if (Option.isSome(cause.queue)) {
        assert.deepStrictEqual(cause.queue.value, { waiting: count("waiting"), running: count("running") })
      }
      return
    case "WorkersLost":
      assert.isAtLeast(steps.filter(({ _tag }) => _tag === "Requeued").length, cause.times)
      return
    case "Expected":
      for (const { high, low } of Option.toArray(cause.eta.interval)) {
        assert.isTrue(Duration.lessThanOrEqualTo(low, high))
      }
      return
    case "Behind": {
      // the order of the service: the priority, then the time of submission
      const ahead = all.filter((steps) => wasIn(steps, "waiting") && isBefore(steps[0]!.snapshot, first.snapshot))
      assert.isAtMost(cause.jobs, ahead.length)
      return
    }
    case "OthersRun":
      assert.isAtMost(cause.jobs, all.filter((steps) => wasIn(steps, "running")).length)
      return
    case "Pace":
      assert.isAtMost(cause.jobs, count("ended"))
      assert.isTrue(Duration.lessThanOrEqualTo(cause.every, "1 hour"))
      return
    case "InTrouble":
      assert.strictEqual(cause.error._tag, "Unavailable")
      assert.isTrue(DateTime.lessThanOrEqualTo(cause.since, cause.nextTryAt))
      return
    case "Paused":
    case "GivesUp":
      return
    case "NoStatus":
      assert.strictEqual(cause.error._tag, "Unavailable")
      return
    case "Unrecognized":
      assert.fail("all states are known")
  }
}

/** Runs an effect in virtual time with these workers; if the queue is flaky, three of ten calls fail. */
const runWith = (workers: Worker.Pool, isFlaky: boolean) =>
<A, E>(
  effect: Effect.Effect<A, E, JobQueue.JobQueue | JobWatcher.JobWatcher | TestJobQueue.TestJobQueue | Scope.Scope>
): Promise<A> =>
  effect.pipe(
    Effect.scoped,
    inTime,
    Logger.withMinimumLogLevel(LogLevel.None),
    Effect.provide(Layer.provideMerge(
      TestJobQueue.layer({
        workers,
        faults: isFlaky ? [Fault.unavailable().pipe(Fault.withProbability(0.3))] : []
      }),
      Epoch
    )),
    Effect.runPromise
  )

const roundTrip = Schema.decodeSync(Schema.parseJson(JobTelemetry.Explanation))

describe("explain", () => {
  it("claims nothing that the history of the queue contradicts", () => {
    const seen = new Set<string>()
    return FastCheck.assert(
      FastCheck.asyncProperty(
        Arbitraries.pool,
        FastCheck.array(
          FastCheck.record({ pause: FastCheck.nat({ max: 10_000 }), priority: FastCheck.nat({ max: 2 }) }),
          {
            minLength: 1,
            maxLength: 6
          }
        ),
        FastCheck.boolean(),
        (workers, submits, isFlaky) =>
          Effect.gen(function*() {
            for (const { pause, priority } of submits) {
              const job = yield* submit(priority).pipe(Effect.retry({ times: 20 }))
              yield* Effect.forkScoped(
                JobStream.result(job, { cadence: "1 second", retry: Schedule.spaced("1 second") })
              )
              yield* Effect.sleep(pause)
              const jobs = yield* histories
              for (const [job, steps] of jobs) {
                const explanation = yield* JobTelemetry.explain(job)
                const { causes } = explanation
                assert.isAbove(causes.length, 0)
                for (const cause of causes) {
                  seen.add(cause._tag)
                  assertTrue(cause, explanation.at.epochMillis, steps, jobs.map(([, steps]) => steps))
                }
                const decoded = roundTrip(Schema.encodeSync(Schema.parseJson(JobTelemetry.Explanation))(explanation))
                assert.strictEqual(JSON.stringify(decoded), JSON.stringify(explanation))
              }
            }
          }).pipe(runWith(workers, isFlaky))
      ),
      { numRuns: runs(60, 120) }
    ).then(() => {
      assert.includeMembers([...seen], [
        "Ended",
        "Running",
        "NoneRunning",
        "Waiting",
        "WorkersLost",
        "NoStatus",
        "Behind",
        "OthersRun",
        "Pace",
        "InTrouble",
        "GivesUp"
      ])
    })
  })

  // Of a step, a poll and a question in the same millisecond the test could not know which came first. Steps come one to three
  // milliseconds after a multiple of ten (`pickup`), polls at one, and questions five milliseconds after one.
  const reports = FastCheck.array(
    FastCheck.record({
      after: FastCheck.nat({ max: 15_000 }).map((n) => n * 10),
      fraction: FastCheck.constantFrom(0.01, 0.3, 0.3, 0.9, 1, undefined)
    }),
    { maxLength: 4 }
  ).map((all) =>
    all.map(({ after, fraction }) =>
      fraction === undefined ? Worker.heartbeat(after) : Worker.progress(after, fraction)
    )
  )

  const ends = FastCheck.constantFrom(Worker.finish("1 second"), Worker.finish("1 hour"), Worker.stopResponding)

  it("reports a running job without a change, exactly while that holds, and no end that should have come", () => {
    const seen = new Set<string>()
    return FastCheck.assert(
      FastCheck.asyncProperty(
        FastCheck.array(FastCheck.tuple(reports, ends), { minLength: 1, maxLength: 3 }),
        FastCheck.array(FastCheck.nat({ max: 10_000 }), { minLength: 3, maxLength: 8 }),
        FastCheck.boolean(),
        (attempts, pauses, isFlaky) =>
          Effect.gen(function*() {
            const job = yield* submit(0).pipe(Effect.retry({ times: 20 }))
            // when the watch saw the last change
            let seenAt = NaN
            const everySecond = Schedule.spaced("1 second")
            yield* JobStream.transitions(job, { cadence: everySecond, retry: everySecond }).pipe(
              Stream.runForEach(({ observedAt }) => Effect.sync(() => seenAt = observedAt.epochMillis)),
              Effect.forkScoped
            )
            const { transitions } = yield* TestJobQueue.TestJobQueue
            yield* Effect.sleep(5)
            for (const pause of pauses) {
              yield* Effect.sleep(pause * 10)
              const { at, causes } = yield* JobTelemetry.explain(job)
              const find = <Tag extends JobTelemetry.Cause["_tag"]>(tag: Tag) =>
                causes.find((cause): cause is Extract<JobTelemetry.Cause, { _tag: Tag }> => cause._tag === tag)
              const running = find("Running")
              const noChange = find("NoChange")
              const expected = find("Expected")
              if (running === undefined) {
                assert.isUndefined(noChange)
                assert.isUndefined(expected)
                continue
              }
              const lastAt = at.epochMillis - Duration.toMillis(running.age)
              const steps = (yield* transitions(job)).filter(({ observedAt }) => observedAt.epochMillis <= lastAt)
              const isSame = steps.at(-1)!.observedAt.epochMillis <= seenAt
              const firstSeen = isSame ? seenAt : lastAt
              if (lastAt - firstSeen < 60_000) assert.isUndefined(noChange)
              else assert.strictEqual(noChange?.since.epochMillis, firstSeen)

              const claimedAt = steps.filter(({ _tag }) => _tag === "Claimed").at(-1)!.observedAt.epochMillis
              // a new attempt has the `info` of the one before
              const fraction = Option.getOrElse(Job.readProgress(steps.at(-1)!.snapshot.info), () => 0)
              const end = firstSeen + (firstSeen - claimedAt) * (1 - fraction) / fraction
              if (!(fraction > 0 && firstSeen > claimedAt && end >= at.epochMillis)) assert.isUndefined(expected)
              else assert.closeTo(Duration.toMillis(expected!.eta.left), end - at.epochMillis, 1)
              seen.add(`${noChange?._tag} ${expected?._tag} ${isSame}`)
            }
          }).pipe(runWith({
            pickup: "1 millis",
            claimTimeout: "30 seconds",
            script: Worker.attempts(...attempts.map(([all, end]) => [...all, end]))
          }, isFlaky))
      ),
      { numRuns: runs(40, 100) }
    ).then(() => {
      assert.includeMembers([...seen], [
        "undefined undefined true",
        "undefined Expected true",
        "NoChange undefined true",
        "NoChange Expected true",
        "undefined undefined false"
      ])
    })
  })

  const summaryOf = (job: Job.JobRef) =>
    Effect.map(JobTelemetry.explain(job), ({ summary }) => summary.replace(Job.format(job), "JOB"))

  const expectSummary = (job: Job.JobRef, expected: string) =>
    Effect.map(summaryOf(job), (summary) => assert.strictEqual(summary, expected))

  it.effect("puts the causes in one sentence", () =>
    Effect.gen(function*() {
      const first = yield* submit(0)
      const second = yield* submit(1)
      yield* expectSummary(
        first,
        "JOB: no job of its model is running; the job, created at 1970-01-01T00:00:00.000Z, waits at priority 0, and the " +
          "queue of its model has 2 waiting and 0 running jobs"
      )
      yield* Effect.sleep("3 seconds")
      yield* expectSummary(second, "JOB: a worker has been running the job since 1970-01-01T00:00:02.000Z")
      yield* Effect.sleep("10 seconds")
      yield* expectSummary(
        first,
        "JOB: the job, created at 1970-01-01T00:00:00.000Z, waits at priority 0, and the queue of its model has 1 waiting " +
          "and 1 running jobs"
      )
      yield* expectSummary(
        second,
        "JOB: a worker has been running the job since 1970-01-01T00:00:09.000Z; its worker was lost once"
      )
      yield* Effect.sleep("10 minutes")
      yield* expectSummary(second, "JOB: the job failed at 1970-01-01T00:00:14.000Z (out of memory)")
      yield* expectSummary(
        Job.ref(model, "another"),
        "JOB: the queue returned no status (JobNotFound)"
      )
    }).pipe(
      inTime,
      Effect.provide(TestJobQueue.layer({
        workers: {
          pickup: "2 seconds",
          claimTimeout: "5 seconds",
          script: Worker.attempts([Worker.stopResponding], [Worker.fail("5 seconds", "out of memory")])
        }
      }))
    ))

  it.effect("has the expected time, if it was learned", () =>
    Effect.gen(function*() {
      yield* Effect.replicateEffect(
        Effect.flatMap(submit(0), (job) => JobStream.result(job, { cadence: "1 second" })),
        20
      )
      const job = yield* submit(0)
      yield* Effect.sleep("500 millis")
      const { causes, summary } = yield* JobTelemetry.explain(job)
      assert.deepStrictEqual(causes.map(({ _tag }) => _tag), ["Running", "Expected"])
      assert.match(
        summary,
        /^\S+: a worker has been running the job since \S+; about \d+s to go, for 8 of 10 such jobs \d+s to \d+s$/
      )
    }).pipe(
      inTime,
      Effect.provide(
        JobWatcher.layer().pipe(
          Layer.provideMerge(LearnedCadence.layer()),
          Layer.provideMerge(TestJobQueue.layer({ workers: { script: Worker.always(Worker.finish("10 seconds")) } }))
        )
      )
    ))

  it.effect("has no estimate of a job that has stopped, but since when, and how unusual that is", () =>
    Effect.gen(function*() {
      const watch = (job: Job.JobRef) => JobStream.result(job, { cadence: "1 second" })
      const stopped = yield* submit(0)
      yield* Effect.forkScoped(watch(stopped))
      yield* Effect.sleep("97 seconds")
      const running = "JOB: a worker has been running the job since 1970-01-01T00:00:00.000Z"
      const givesUp = "its watch gives up at 1970-01-02T00:00:00.000Z"
      yield* expectSummary(stopped, `${running}; about 4s to go, if it goes on at its speed so far; ${givesUp}`)
      yield* Effect.sleep("1 hour")
      const noChange = `${running}; nothing of it has changed since 1970-01-01T00:01:35.151Z`
      yield* expectSummary(stopped, `${noChange}; ${givesUp}`)
      yield* Effect.replicateEffect(Effect.flatMap(submit(0), watch), 20)
      yield* expectSummary(stopped, `${noChange}, 57 times as long as such jobs usually run; ${givesUp}`)
    }).pipe(
      Effect.scoped,
      (effect) => inTime(effect, "3 hours"),
      Effect.provide(
        JobWatcher.layer().pipe(
          Layer.provideMerge(LearnedCadence.layer()),
          Layer.provideMerge(TestJobQueue.layer({
            workers: {
              workers: 2,
              script: ({ nth }) =>
                nth === 1
                  ? [Worker.progress("95 seconds", 0.95), Worker.finish("1 day")]
                  : [Worker.finish("100 seconds")]
            }
          }))
        )
      )
    ))

  it.effect("has what the watcher knows, and how old that is", () =>
    Effect.gen(function*() {
      const jobs = yield* Effect.replicateEffect(Effect.zipLeft(submit(1), Effect.sleep("1 second")), 16)
      const job = yield* submit(1)
      yield* Effect.forEach([...jobs, job], (job) =>
        Effect.forkScoped(JobStream.result(job, { cadence: "10 seconds", deadline: "1 hour" })))
      yield* Effect.sleep("2 minutes")
      yield* expectSummary(
        job,
        "JOB: the queue returned no status (RateLimited); the service answered 429, so no job is polled until " +
          "1970-01-01T00:02:40.694Z (6s ago); 6 of your jobs are ahead of it at priority 1 (16s ago); 2 of your jobs run " +
          "(13s ago); one ended every 13s (13s ago); the job, created at 1970-01-01T00:00:16.000Z, waits at priority 1 " +
          "(12s ago); its watch gives up at 1970-01-01T01:00:16.000Z"
      )
    }).pipe(
      Effect.scoped,
      inTime,
      Effect.provide(TestJobQueue.layer({
        workers: { workers: 2, script: Worker.always(Worker.finish("30 seconds")) },
        faults: [Fault.rateLimited("30 seconds").pipe(Fault.on("status"), Fault.during("130 seconds", "140 seconds"))]
      }))
    ))

  it.effect("has a deadline that is later than any date", () =>
    Effect.gen(function*() {
      const job = yield* submit(0)
      yield* Effect.forkScoped(JobStream.result(job, { deadline: Number.MAX_SAFE_INTEGER }))
      yield* Effect.sleep("1 second")
      const explanation = yield* JobTelemetry.explain(job)
      assert.match(explanation.summary, /; its watch gives up at \+275760-09-13T00:00:00\.000Z$/)
      assert.deepStrictEqual(
        yield* Schema.decode(JobTelemetry.Explanation)(yield* Schema.encode(JobTelemetry.Explanation)(explanation)),
        explanation
      )
    }).pipe(Effect.scoped, inTime, Effect.provide(TestJobQueue.layer())))

  it.effect("is of the states alone, where the queue reports nothing else", () =>
    Effect.gen(function*() {
      const job = yield* submit(0)
      assert.deepStrictEqual((yield* JobTelemetry.explain(job)).causes, [
        { _tag: "Unrecognized", age: Duration.zero, status: "on_hold" }
      ])
      const { causes } = yield* JobTelemetry.explain(job)
      assert.deepStrictEqual(causes.map(({ _tag }) => _tag), ["Waiting"])
      assert(causes[0]?._tag === "Waiting" && Option.isNone(causes[0].queue))
    }).pipe(
      inTime,
      Effect.provide(TestJobQueue.layer({
        faults: [
          Fault.unknownStatus("on_hold").pipe(Fault.on("status"), Fault.nth(1)),
          Fault.unavailable().pipe(Fault.on("metrics"))
        ]
      }))
    ))

  it.effect("estimates by the server's clock, as everywhere", () =>
    Effect.gen(function*() {
      const ahead = 3_600_000
      const at = DateTime.unsafeMake(ahead - 10_000)
      const job = Job.ref(model, "a-job")
      const status = Job.Running({ job, claimedAt: Option.some(at), info: { progress: 0.5 } })
      const watcher = { ...yield* JobWatcher.JobWatcher, clockAhead: () => ahead }
      const answer = Either.right({ status, at: DateTime.unsafeMake(0), queue: Option.none() })
      const { causes } = yield* explain(job, watcher, LearnedCadence.eta, answer)
      const expected = causes.find(({ _tag }) => _tag === "Expected")
      assert(expected?._tag === "Expected")
      assert.strictEqual(Duration.toMillis(expected.eta.left), 10_000)
    }).pipe(Effect.provide(TestJobQueue.layer())))

  it.effect("is the same of services that Layer.mock makes", () =>
    Effect.gen(function*() {
      const job = Job.ref(model, "a-job")
      const claimedAt = Option.some(DateTime.unsafeMake(-10_000))
      const service = {
        status: () => Effect.succeed(Job.Running({ job, claimedAt, info: { progress: 0.5 } })),
        metrics: () => Effect.succeed({ running: 1, waiting: 0, total: 1 })
      }
      const queue = Layer.mock(JobQueue.JobQueue, service)
      const watchers = [
        JobWatcher.layer().pipe(Layer.provide(queue)),
        Layer.mock(JobWatcher.JobWatcher, {}),
        JobTelemetry.layer.pipe(Layer.provide(Layer.mock(JobWatcher.JobWatcher, {})))
      ]
      const { summary } = yield* JobTelemetry.explain(job).pipe(Effect.provide(queue))
      for (const watcher of watchers) {
        const explained = yield* JobTelemetry.explain(job).pipe(Effect.provide([queue, watcher]))
        assert.strictEqual(explained.summary, summary)
      }
    }))

  it("has the causes that the guide names", () => {
    const guide = readFileSync(fileURLToPath(new URL("../../docs/telemetry.md", import.meta.url)), "utf8")
    const [, table = ""] = guide.split("| cause |")
    const tags: { readonly [_ in JobTelemetry.Cause["_tag"]]: true } = {
      NoStatus: true,
      Ended: true,
      Unrecognized: true,
      Running: true,
      NoChange: true,
      NoneRunning: true,
      Waiting: true,
      Paused: true,
      InTrouble: true,
      Behind: true,
      OthersRun: true,
      Pace: true,
      GivesUp: true,
      WorkersLost: true,
      Expected: true
    }
    assert.sameMembers(
      Array.from(table.split("\n\n")[0]!.matchAll(/^\| `(\w+)` \|/gm), ([, tag]) => tag),
      Object.keys(tags)
    )
  })
})
