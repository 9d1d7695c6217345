/**
 * The port `JobWatcher`: other implementations work behind it, and its laws detect incorrect ones.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import { Cadence, Job, JobQueue, JobRun, JobStream, JobWatcher, WatchPolicy } from "../../src/index.js"
import { Conformance, Fault, TestJobQueue, Worker } from "../../src/testing/index.js"
import { inQueue } from "../fixtures/inQueue.js"
import { job, model } from "../fixtures/job.js"

const everySecond = { cadence: Schedule.spaced("1 second") }

// -----------------------------------------------------------------------------
// a fake
// -----------------------------------------------------------------------------

/** A watcher that reports these snapshots of every job, and then its end. */
const knowing = (...life: ReadonlyArray<(job: Job.JobRef) => Job.JobStatus>) =>
  Layer.succeed(JobWatcher.JobWatcher, {
    pollingEvents: Stream.never,
    subscribe: () =>
      Effect.map(Queue.unbounded<JobWatcher.Notice>(), (notices) => ({
        next: Queue.takeBetween(notices, 1, 100) as Effect.Effect<Chunk.NonEmptyChunk<JobWatcher.Notice>>,
        add: (job, from) => {
          const watch = { job, cursor: from }
          const at = DateTime.unsafeMake(0)
          const samples = life.map((status) => ({ _tag: "Sample" as const, watch, status: status(job), at }))
          return Queue.offerAll(notices, [...samples, { _tag: "Ended", watch, exit: Exit.void }])
        }
      }))
  })

describe("a fake watcher of a few lines", () => {
  const fake = knowing(
    (job) => Job.Pending({ job }),
    (job) => Job.Running({ job }),
    (job) => Job.Done({ job, outputs: { answer: 42 } })
  )

  it.effect("serves everything that is built on the port", () =>
    Effect.gen(function*() {
      const tags = <A extends { readonly _tag: string }, E, R>(stream: Stream.Stream<A, E, R>) =>
        Effect.map(Stream.runCollect(stream), (all) => Chunk.toReadonlyArray(all).map(({ _tag }) => _tag))
      const steps = ["Queued", "Claimed", "Completed"]
      assert.deepStrictEqual(yield* tags(JobStream.statuses(job)), ["Pending", "Running", "Done"])
      assert.deepStrictEqual(yield* tags(JobStream.transitions(job)), steps)
      assert.deepStrictEqual(yield* tags(JobStream.events(job)), steps)
      assert.deepStrictEqual(yield* JobStream.result(job), { answer: 42 })
      const jobs = Stream.make(job, Job.ref(model, "another"))
      assert.deepStrictEqual(yield* tags(JobStream.watchAll(jobs)), [...steps, ...steps])
      const submitted = Layer.mock(JobQueue.JobQueue, { submit: () => Effect.succeed(job) })
      assert.deepStrictEqual(
        yield* Effect.provide(JobRun.run({ model, payload: {} }), submitted),
        { answer: 42 }
      )
    }).pipe(Effect.provide(fake)))
})

// -----------------------------------------------------------------------------
// incorrect watchers
// -----------------------------------------------------------------------------

type Change = (subscription: JobWatcher.Subscription, wants: string) => JobWatcher.Subscription

const changed = (change: Change) =>
  Layer.scoped(
    JobWatcher.JobWatcher,
    Effect.map(JobWatcher.make(), (watcher) => ({
      ...watcher,
      subscribe: (options: JobWatcher.SubscribeOptions) =>
        Effect.map(watcher.subscribe(options), (subscription) => change(subscription, options.wants))
    }))
  )

const notices = (change: (notice: JobWatcher.Notice) => ReadonlyArray<JobWatcher.Notice>): Change => (subscription) => {
  const next: JobWatcher.Subscription["next"] = Effect.flatMap(
    Effect.suspend(() => subscription.next),
    (all) => {
      const some = Chunk.toReadonlyArray(all).flatMap(change)
      return some.length === 0
        ? next
        : Effect.succeed(Chunk.unsafeFromArray(some) as Chunk.NonEmptyChunk<JobWatcher.Notice>)
    }
  )
  return { add: (job, from) => subscription.add(job, from), next }
}

describe("the laws of the port", () => {
  const failures = (
    watcher: Layer.Layer<JobWatcher.JobWatcher, never, JobQueue.JobQueue>,
    isChosen = (_name: string) => true
  ) =>
    Effect.gen(function*() {
      const checks = Conformance.watcherChecks({ watcher, pass: TestClock.adjust })
      const failed: Array<string> = []
      for (const { name, run } of checks.filter(({ name }) => isChosen(name))) {
        if (Exit.isFailure(yield* Effect.exit(run))) failed.push(name)
      }
      return failed
    })

  it.effect("hold for the watcher that polls, with any options", () =>
    Effect.gen(function*() {
      for (const options of [{}, { pollsPerSecond: 20, concurrency: 1, queueOrder: "always" }] as const) {
        assert.deepStrictEqual(
          yield* failures(JobWatcher.layer(options)),
          []
        )
      }
    }))

  const last = "subscribe: samples come in the order of the states of the job, and its end comes last"
  const polls = "subscribe: a subscription to polls has several samples of a state that does not change"
  const plants: ReadonlyArray<readonly [what: string, check: string, change: Change]> = [
    [
      "leaves out the last snapshot",
      last,
      notices((notice) => notice._tag === "Sample" && notice.status._tag === "Done" ? [] : [notice])
    ],
    ["reports the end before the last snapshot", last, (subscription) => {
      const next = Effect.map(
        Effect.suspend(() => subscription.next),
        (all) => Chunk.reverse(all) as Chunk.NonEmptyChunk<JobWatcher.Notice>
      )
      return { add: (job, from) => subscription.add(job, from), next }
    }],
    ["reports changes where polls are wanted", polls, (subscription, wants) => {
      let before: string | undefined
      return wants === "polls"
        ? notices((notice) => {
          if (notice._tag !== "Sample") return [notice]
          const isNew = notice.status._tag !== before
          before = notice.status._tag
          return isNew ? [notice] : []
        })(subscription, wants)
        : subscription
    }],
    [
      "reports each job as new",
      "subscribe: a job that is added again is watched once",
      (subscription) => ({
        add: (job, from) => Effect.as(subscription.add(job, from), true),
        get next() {
          return subscription.next
        }
      })
    ],
    [
      "forgets the cursor that a watch begins with",
      "watch: resumes from the cursor of any step with the next step",
      (subscription) => ({
        add: (job) => subscription.add(job),
        get next() {
          return subscription.next
        }
      })
    ]
  ]
  for (const [what, check, change] of plants) {
    it.effect(`find a watcher that ${what}`, () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* failures(changed(change), (name) => name === check), [check])
      }))
  }
})

// -----------------------------------------------------------------------------
// the layer that polls
// -----------------------------------------------------------------------------

it.effect("a subscription whose reader is interrupted loses no notice", () =>
  Effect.gen(function*() {
    const job = yield* JobQueue.submit({ model, payload: {} })
    const { subscribe } = yield* JobWatcher.JobWatcher
    const subscription = yield* subscribe({ policy: { ...WatchPolicy.defaultPolicy, ...everySecond }, wants: "polls" })
    yield* subscription.add(job)
    const next = Effect.map(subscription.next, (notices) => Chunk.toReadonlyArray(notices).map(({ _tag }) => _tag))
    assert.deepStrictEqual(yield* next, ["Sample"])
    assert.isTrue(Option.isNone(yield* Effect.timeoutOption(next, "500 millis")))
    // the poll at one second comes after the interruption of the reader
    yield* Effect.sleep("1 second")
    const [waited, tags] = yield* Effect.timed(next)
    assert.deepStrictEqual(tags, ["Sample"])
    assert.strictEqual(Duration.toMillis(waited), 0)
    assert.deepStrictEqual(yield* next, ["Sample"])
  }).pipe(Effect.scoped, inQueue({})))

describe("troubles", () => {
  it.effect("reach every watch, also one that joins during a trouble", () =>
    Effect.gen(function*() {
      const job = yield* JobQueue.submit({ model, payload: {} })
      const reported: Array<ReadonlyArray<string>> = []
      const watch = (after: number) =>
        Effect.delay(Stream.runCollect(JobStream.events(job, everySecond)), after).pipe(
          Effect.map((events) => reported.push(Chunk.toReadonlyArray(events).map(({ _tag }) => _tag)))
        )
      yield* Effect.all([watch(0), watch(0), watch(4_000)], { concurrency: "unbounded" })
      for (const tags of reported) {
        assert.deepStrictEqual(tags.filter((tag, i) => tag !== tags[i - 1]), [
          ...tags.slice(0, 1),
          ...(tags[0] === "Queued" ? ["Claimed"] : []),
          ...(tags[0] === "Queued" ? ["Trouble"] : []),
          "Recovered",
          ...(tags[0] === "Queued" ? [] : ["Queued", "Claimed"]),
          "Completed"
        ])
      }
      assert.strictEqual(reported.length, 3)
    }).pipe(inQueue({
      workers: { script: Worker.always(Worker.finish("20 seconds")) },
      faults: [Fault.unavailable({ status: 502 }).pipe(Fault.on("status"), Fault.during("3 seconds", "9 seconds"))]
    })))

  it.effect("pass with the next response, also if it shows nothing new, and not because a watch gives up", () =>
    Effect.gen(function*() {
      const job = yield* JobQueue.submit({ model, payload: {} })
      const tags: Array<string> = []
      const watch = JobStream.events(job, {
        ...everySecond,
        retry: Schedule.spaced("1 second").pipe(Schedule.upTo(4_000))
      })
      yield* Effect.option(Stream.runForEach(watch, ({ _tag }) => Effect.sync(() => tags.push(_tag))))
      assert.deepStrictEqual(tags.filter((tag, i) => tag !== tags[i - 1]), [
        "Queued",
        "Trouble",
        "Recovered",
        "Trouble"
      ])
    }).pipe(inQueue({
      faults: [
        Fault.unavailable().pipe(Fault.on("status"), Fault.during("3 seconds", "5 seconds")),
        Fault.unavailable().pipe(Fault.on("status"), Fault.during("10 seconds", "1 hour"))
      ]
    })))
})

describe("a deadline", () => {
  it.effect("that passes while a request of its job is in flight does not change when another job is polled", () =>
    Effect.gen(function*() {
      const [slow, other] = [
        yield* JobQueue.submit({ model, payload: {} }),
        yield* JobQueue.submit({ model, payload: {} })
      ]
      yield* TestJobQueue.inject(Fault.delay("10 seconds").pipe(Fault.on("status"), Fault.ofJob(slow)))
      yield* Effect.all([
        Effect.exit(JobStream.result(slow, { deadline: "500 millis" })),
        Effect.timeoutOption(JobStream.result(other, { cadence: Schedule.spaced("1 hour") }), "1 minute")
      ], { concurrency: "unbounded" })
      const calls = yield* TestJobQueue.calls
      assert.lengthOf(calls.filter((call) => call.operation === "status" && call.requestId === other.requestId), 1)
    }).pipe(inQueue({})))
})

describe("the order of the queue", () => {
  const watched = (jobs: number, options: JobWatcher.Options) =>
    Effect.gen(function*() {
      const refs = yield* Effect.replicateEffect(
        Effect.zipLeft(JobQueue.submit({ model, payload: {} }), Effect.sleep("1 millis")),
        jobs
      )
      yield* JobStream.watchAll(Stream.fromIterable(refs), { cadence: Cadence.fixed("1 second") }).pipe(
        Stream.runDrain,
        Effect.timeoutOption("1 minute"),
        Effect.provide(JobWatcher.layer(options))
      )
      return (yield* TestJobQueue.counts).status
    }).pipe(inQueue({}))

  it.effect("is used only if the jobs of a model exceed the budget", () =>
    Effect.gen(function*() {
      // each at its cadence
      assert.isAbove(yield* watched(40, {}), 40 * 50)
      // 200 of them would be 200 polls a second
      assert.isBelow(yield* watched(200, {}), 200 * 10)
      assert.isBelow(yield* watched(40, { queueOrder: "always" }), 40 * 10)
      assert.isAbove(yield* watched(200, { queueOrder: "never" }), 100 * 50)
    }))

  it.effect("counts the jobs of all models", () =>
    Effect.gen(function*() {
      const refs = yield* Effect.forEach(
        Array.from({ length: 400 }, (_, i) => `model ${i % 20}`),
        (model) => Effect.zipLeft(JobQueue.submit({ model, payload: {} }), Effect.sleep("1 millis"))
      )
      yield* JobStream.watchAll(Stream.fromIterable(refs), { cadence: Cadence.fixed("1 second") }).pipe(
        Stream.runDrain,
        Effect.timeoutOption("1 minute")
      )
      // three of each model, at their cadence
      const heads = 20 * 3 * 60
      const { status } = yield* TestJobQueue.counts
      assert(status > heads && status < heads + 400 * 3, `${status} polls`)
    }).pipe(inQueue({})))

  it.effect("is not used any more when few jobs remain", () =>
    Effect.gen(function*() {
      const refs = yield* Effect.replicateEffect(
        Effect.zipLeft(JobQueue.submit({ model, payload: {} }), Effect.sleep("1 millis")),
        200
      )
      const everySecond = { cadence: Cadence.fixed("1 second") }
      const watch = (refs: ReadonlyArray<Job.JobRef>) =>
        Stream.runDrain(JobStream.watchAll(Stream.fromIterable(refs), everySecond))
      const many = yield* Effect.fork(watch(refs.slice(0, 170)))
      const few = yield* Effect.fork(watch(refs.slice(170)))
      yield* Effect.sleep("10 seconds")
      yield* Fiber.interrupt(many)
      yield* Effect.sleep("5 seconds")
      const before = (yield* TestJobQueue.counts).status
      yield* Effect.sleep("10 seconds")
      assert.isAtLeast((yield* TestJobQueue.counts).status - before, 30 * 9)
      yield* Fiber.interrupt(few)
    }).pipe(inQueue({})))
})
