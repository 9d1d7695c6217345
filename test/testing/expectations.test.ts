import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import { Job, JobQueue, JobStream } from "../../src/index.js"
import type { Cadence, Transition } from "../../src/index.js"
import { Fault, TestJobQueue, VirtualTime, Worker } from "../../src/testing/index.js"

const { expectJobs, expectNoCallsAfter, expectPolls, expectTransitions, expectMatchesHistory } = TestJobQueue

const model = "my-org/video-generator"

/** Injects a fault permanently. */
const afflict = (fault: Fault.Fault) => Effect.asVoid(TestJobQueue.inject(fault))

const submit = JobQueue.submit({ model, payload: {} })

/** A poll at 0, 1, 2, … seconds. */
const everySecond: Cadence.Cadence = Schedule.spaced("1 second")

const watch = (job: Job.JobRef) =>
  JobStream.transitions(job, { cadence: everySecond }).pipe(Stream.runCollect, Effect.map(Chunk.toReadonlyArray))

/** The defect of an expectation that is not met. */
const defectOf = <R>(expectation: Effect.Effect<void, never, R>): Effect.Effect<Error, never, R> =>
  Effect.map(Effect.exit(expectation), (exit) => {
    const defect = Option.flatMap(Exit.causeOption(exit), Cause.dieOption)
    assert(Option.isSome(defect) && defect.value instanceof Error, `it is met, or says it otherwise: ${exit}`)
    return defect.value
  })

const messageOf = <R>(expectation: Effect.Effect<void, never, R>) =>
  Effect.map(defectOf(expectation), ({ message }) => message)

/** Two attempts: the first is lost at 12 seconds, the second ends at 14. */
const layer = TestJobQueue.layer({
  workers: {
    claimTimeout: "10 seconds",
    script: Worker.attempts(
      [Worker.progress("2 seconds", 0.5), Worker.stopResponding],
      [Worker.progress("1 second", 0.8), Worker.finish("1 second", { answer: 42 })]
    )
  }
})

describe("expectTransitions", () => {
  it.effect("accepts the transitions of a watch and of the history, with or without progress and attempts", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const seen = yield* VirtualTime.run(watch(job))
      const truth = yield* TestJobQueue.transitions(job)
      for (const transitions of [seen, truth, new Set(truth)]) {
        yield* expectTransitions(transitions, ["Queued", "Claimed 1", "Requeued 1", "Claimed 2", "Completed 2"])
        yield* expectTransitions(transitions, ["Queued", "Claimed", "Requeued", "Claimed", "Completed"])
        yield* expectTransitions(transitions, [
          "Queued 0",
          "Claimed",
          "Progressed 1",
          "Requeued 1",
          "Claimed 2",
          "Progressed",
          "Completed"
        ])
      }
      yield* expectTransitions([], [])
    }).pipe(Effect.provide(layer)))

  it.effect("shows what differs", () =>
    Effect.gen(function*() {
      const seen = yield* VirtualTime.run(Effect.flatMap(submit, watch))
      assert.strictEqual(
        yield* messageOf(expectTransitions(seen, ["Queued", "Claimed 1", "Completed 1"])),
        `not the transitions that were expected (- expected, + is)
  Queued
  Claimed 1
- Completed 1
+ Requeued 1
+ Claimed 2
+ Completed 2`
      )
    }).pipe(Effect.provide(layer)))

  it.effect("rejects a wrong attempt, a missing step, an extra step, or another order", () =>
    Effect.gen(function*() {
      const seen = yield* VirtualTime.run(Effect.flatMap(submit, watch))
      const steps = ["Queued", "Claimed 1", "Requeued 1", "Claimed 2", "Completed 2"] as const
      yield* expectTransitions(seen, steps)
      const others: ReadonlyArray<Parameters<typeof TestJobQueue.expectTransitions>[1]> = [
        [],
        steps.slice(0, -1),
        steps.slice(1),
        [...steps, "Completed 2"],
        steps.map((step) => step === "Completed 2" ? "Completed 1" : step),
        steps.map((step) => step === "Completed 2" ? "FailedByModel 2" : step),
        ["Queued", "Claimed 1", "Claimed 2", "Requeued 1", "Completed 2"],
        // if one progress step is listed, all must be
        ["Queued", "Claimed 1", "Progressed 1", "Requeued 1", "Claimed 2", "Completed 2"]
      ]
      for (const other of others) assert.include(yield* messageOf(expectTransitions(seen, other)), "(- expected, + is)")
    }).pipe(Effect.provide(layer)))
})

describe("expectMatchesHistory", () => {
  /** A job that was watched to its end. */
  const watched = Effect.gen(function*() {
    const job = yield* submit
    return { job, seen: yield* VirtualTime.run(watch(job)) }
  })

  const change = (
    seen: ReadonlyArray<Transition.Transition>,
    tag: Transition.Transition["_tag"],
    changes: Partial<Transition.Claimed>
  ) => seen.map((transition) => transition._tag === tag ? { ...transition, ...changes } : transition)

  it.effect("accepts complete transitions, and ones without progress or without times", () =>
    Effect.gen(function*() {
      const { job, seen } = yield* watched
      yield* expectMatchesHistory(job, seen)
      yield* expectMatchesHistory(job, seen.filter(({ _tag }) => _tag !== "Progressed"))
      yield* expectMatchesHistory(job, change(seen, "Claimed", { at: Option.none() }))
      yield* expectMatchesHistory(job, yield* TestJobQueue.transitions(job))
    }).pipe(Effect.provide(layer)))

  it.effect("accepts the transitions of a single poll after the job has ended", () =>
    Effect.gen(function*() {
      const job = yield* submit
      yield* TestClock.adjust("1 hour")
      yield* expectMatchesHistory(job, yield* VirtualTime.run(watch(job)))
    }).pipe(Effect.provide(layer)))

  it.effect("accepts the transitions so far of a running watch", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const seen: Array<Transition.Transition> = []
      const fiber = yield* JobStream.transitions(job, { cadence: everySecond }).pipe(
        Stream.runForEach((transition) => Effect.sync(() => seen.push(transition))),
        Effect.fork
      )
      yield* TestClock.adjust("12 seconds")
      yield* expectMatchesHistory(job, seen)
      // steps since the last poll are not required
      yield* TestClock.adjust("1999 millis")
      yield* expectMatchesHistory(job, seen)
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(fiber)
      yield* expectMatchesHistory(job, seen)
      assert.include(yield* messageOf(expectMatchesHistory(job, seen.slice(0, -1))), "- Completed 2 at 14s")
    }).pipe(Effect.provide(layer)))

  it.effect("shows the difference, with times", () =>
    Effect.gen(function*() {
      const { job, seen } = yield* watched
      const wrong = change(seen.filter(({ _tag }) => _tag !== "Requeued"), "Completed", {
        at: Option.some(DateTime.unsafeMake(13_000))
      })
      assert.strictEqual(
        yield* messageOf(expectMatchesHistory(job, wrong)),
        `${Job.format(job)}: what was seen is not what happened (- expected, + is)
  Queued 0 at 0
  Claimed 1 at 0
- Requeued 1 at 12s
  Claimed 2 at 12s
- Completed 2 at 14s
+ Completed 2 at 13s`
      )
    }).pipe(Effect.provide(layer)))

  it.effect("shows the observation time of a wrong step without a time", () =>
    Effect.gen(function*() {
      const { job, seen } = yield* watched
      const wrong = change(seen, "Requeued", { attempt: 2 })
      const message = yield* messageOf(expectMatchesHistory(job, wrong))
      assert.include(message, "- Requeued 1 at 12s\n+ Requeued 2, seen at 12s")
    }).pipe(Effect.provide(layer)))

  it.effect("rejects progress that is not in the history", () =>
    Effect.gen(function*() {
      const { job, seen } = yield* watched
      const progress = seen.find(({ _tag }) => _tag === "Progressed")!
      const info = { progress: 0.6 }
      const madeUp = change(seen, "Progressed", { snapshot: { ...progress.snapshot, info } })
      assert.strictEqual(
        yield* messageOf(expectMatchesHistory(job, madeUp)),
        `${Job.format(job)}: progress was seen that there was not: attempt 1, {"progress":0.6}`
      )
      // nor progress of another attempt
      assert.include(
        yield* messageOf(expectMatchesHistory(job, change(seen, "Progressed", { attempt: 1 }))),
        "progress was seen that there was not: attempt 1, {\"progress\":0.8}"
      )
    }).pipe(Effect.provide(layer)))

  it.effect("rejects an empty list, and transitions of another job", () =>
    Effect.gen(function*() {
      const { job } = yield* watched
      assert.include(yield* messageOf(expectMatchesHistory(job, [])), "- Queued 0 at 0")
      const unknown = Job.ref(model, "no such job")
      yield* expectMatchesHistory(unknown, [])
      const { seen } = yield* watched
      assert.include(yield* messageOf(expectMatchesHistory(unknown, seen)), "+ Queued 0 at 14s")
      assert.include(yield* messageOf(expectMatchesHistory(job, seen)), "+ Queued 0 at 14s")
    }).pipe(Effect.provide(layer)))

  it.effect("rejects a failure in place of another end, and another end in place of a failure", () =>
    Effect.gen(function*() {
      const { job, seen } = yield* watched
      const other = yield* JobQueue.submit({ model, payload: { fails: true } })
      const failed = yield* VirtualTime.run(watch(other))
      const steps = (tag: string) => (transition: Transition.Transition) => transition._tag === tag
      const [success, failure] = [seen.find(steps("Completed"))!, failed.find(steps("FailedByModel"))!]
      assert.include(
        yield* messageOf(expectMatchesHistory(job, [...seen.slice(0, -1), { ...failure, at: success.at }])),
        "- Completed 1 at 5s\n+ FailedByModel 1 at 5s"
      )
      assert.include(
        yield* messageOf(expectMatchesHistory(other, [...failed.slice(0, -1), { ...success, at: failure.at }])),
        "- FailedByModel 1 at 10s\n+ Completed 1 at 10s"
      )
    }).pipe(Effect.provide(TestJobQueue.layer({
      workers: {
        script: ({ payload }) => [
          payload["fails"] === true ? Worker.fail("5 seconds", "out of memory") : Worker.finish("5 seconds")
        ]
      }
    }))))

  it.effect("detects a service with a wrong clock", () =>
    Effect.gen(function*() {
      const { job, seen } = yield* watched
      assert.include(yield* messageOf(expectMatchesHistory(job, seen)), "+ Completed 2 at 1h 14s")
    }).pipe(
      Effect.provide(TestJobQueue.layer({
        faults: [Fault.clockAhead("1 hour")],
        workers: {
          claimTimeout: "10 seconds",
          script: Worker.attempts([Worker.heartbeat("2 seconds")], [Worker.finish("2 seconds")])
        }
      }))
    ))
})

describe("expectJobs", () => {
  it.effect("counts submitted jobs, including those whose response was lost", () =>
    Effect.gen(function*() {
      yield* expectJobs(0)
      yield* Effect.ignore(submit)
      yield* expectJobs(1)
      yield* submit
      yield* expectJobs(2)
    }).pipe(Effect.provide(TestJobQueue.layer({
      faults: [Fault.answerLost().pipe(Fault.on("submit"), Fault.nth(1))]
    }))))

  it.effect("shows the jobs, and the submit calls", () =>
    Effect.gen(function*() {
      yield* Effect.ignore(submit)
      yield* TestClock.adjust("2 seconds")
      yield* submit
      const [first, second] = yield* TestJobQueue.jobs
      assert.strictEqual(
        yield* messageOf(expectJobs(1)),
        `1 jobs were expected, there are 2
  ${Job.format(first!)}
  ${Job.format(second!)}
  submit ${model} at 0, Unreachable at 0
  submit ${model} at 2s, answered at 2s`
      )
    }).pipe(Effect.provide(TestJobQueue.layer({
      faults: [Fault.answerLost().pipe(Fault.on("submit"), Fault.nth(1))]
    }))))
})

describe("expectPolls", () => {
  it.effect("accepts a number of polls, or a list of their times", () =>
    Effect.gen(function*() {
      const [job, other] = yield* Effect.all([submit, submit])
      yield* expectPolls(job, 0)
      yield* expectPolls(job, [])
      yield* JobQueue.status(job)
      yield* JobQueue.status(other)
      yield* TestClock.adjust("90 seconds")
      yield* JobQueue.status(job)
      // failed polls count; calls for another model, and other operations, do not
      yield* Effect.exit(JobQueue.status(Job.ref("another model", job.requestId)))
      yield* JobQueue.cancel(job)
      yield* afflict(Fault.unauthorized)
      yield* Effect.exit(JobQueue.status(job))
      yield* expectPolls(job, 3)
      yield* expectPolls(job, [0, "90 seconds", "90000 millis"])
      yield* expectPolls(other, 1)
    }).pipe(Effect.provide(TestJobQueue.layer())))

  it.effect("counts times from the creation of the queue", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(1_000_000)
      yield* Effect.gen(function*() {
        yield* TestClock.adjust("5 seconds")
        const job = yield* submit
        yield* JobQueue.status(job)
        yield* expectPolls(job, ["5 seconds"])
      }).pipe(Effect.provide(TestJobQueue.layer()))
    }))

  it.effect("shows what differs", () =>
    Effect.gen(function*() {
      const job = yield* submit
      yield* VirtualTime.run(watch(job))
      yield* expectPolls(job, 15)
      assert.strictEqual(
        yield* messageOf(expectPolls(job, ["0 seconds", "1500 millis"])),
        `${Job.format(job)}: not the polls that were expected (- expected, + is)
  0
- 1s 500ms
+ 1s
+ 2s
+ 3s
+ 4s
+ 5s
+ 6s
+ 7s
+ 8s
+ 9s
+ 10s
+ 11s
+ 12s
+ 13s
+ 14s`
      )
      assert.strictEqual(
        yield* messageOf(expectPolls(job, 1)),
        [
          `${Job.format(job)}: 1 polls were expected, there were 15`,
          ...["0", ...Array.from({ length: 14 }, (_, i) => `${i + 1}s`)]
        ].join("\n  ")
      )
    }).pipe(Effect.provide(layer)))

  it.effect("shows only the polls around the difference", () =>
    Effect.gen(function*() {
      const job = yield* submit
      yield* VirtualTime.run(watch(job))
      const times = [0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14].map((second) => `${second} seconds` as const)
      assert.strictEqual(
        yield* messageOf(expectPolls(job, times)),
        `${Job.format(job)}: not the polls that were expected (- expected, + is)
  … 4 lines alike
  4s
  5s
  6s
+ 7s
  8s
  9s
  10s
  … 4 lines alike`
      )
    }).pipe(Effect.provide(layer)))
})

describe("expectNoCallsAfter", () => {
  it.effect("accepts a queue without later calls", () =>
    Effect.gen(function*() {
      yield* expectNoCallsAfter(0)
      const job = yield* submit
      yield* expectNoCallsAfter(0)
      yield* VirtualTime.run(watch(job))
      yield* expectNoCallsAfter("14 seconds")
      yield* expectNoCallsAfter("1 hour")
    }).pipe(Effect.provide(layer)))

  it.effect("shows the later calls, and those in flight", () =>
    Effect.gen(function*() {
      const { inject } = TestJobQueue
      const job = yield* submit
      const answerLate = yield* inject(Fault.delay("10 seconds"))
      const late = yield* Effect.fork(JobQueue.cancel(job))
      yield* TestClock.adjust("5 seconds")
      yield* answerLate.remove
      yield* afflict(Fault.noResponse)
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.join(late)
      const hanging = yield* Effect.fork(JobQueue.metrics(model))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(
        yield* messageOf(expectNoCallsAfter("9 seconds")),
        `after 9s there were to be no calls any more:
  cancel ${Job.format(job)} at 0, answered at 10s
  metrics ${model} at 10s, still on its way`
      )
      yield* Fiber.interrupt(hanging)
      assert.strictEqual(
        yield* messageOf(expectNoCallsAfter("10 seconds")),
        `after 10s there were to be no calls any more:
  metrics ${model} at 10s, interrupted at 11s`
      )
      yield* expectNoCallsAfter("11 seconds")
    }).pipe(Effect.provide(TestJobQueue.layer())))
})

describe("an unmet expectation", () => {
  const job = Job.ref(model, "1")

  const unmet: ReadonlyArray<readonly [string, () => Effect.Effect<void, never, TestJobQueue.TestJobQueue>]> = [
    ["expectTransitions", () => expectTransitions([], ["Queued"])],
    ["expectMatchesHistory", () => Effect.flatMap(seenOfAnother, (seen) => expectMatchesHistory(job, seen))],
    ["expectJobs", () => expectJobs(2)],
    ["expectPolls, by count", () => expectPolls(job, 1)],
    ["expectPolls, by times", () => expectPolls(job, [0])],
    ["expectNoCallsAfter", () => expectNoCallsAfter("0 seconds")]
  ]

  // the transitions of an existing job
  const seenOfAnother = Effect.flatMap(
    TestJobQueue.TestJobQueue,
    ({ jobs, transitions }) => Effect.flatMap(jobs, ([other]) => transitions(other!))
  )

  it.effect.each(unmet)("%s: its stack points to the test", ([, expectation]) =>
    Effect.gen(function*() {
      yield* TestClock.adjust("1 second")
      yield* submit
      const error = yield* defectOf(expectation())
      assert.strictEqual(error.name, "ExpectationFailed")
      const frames = error.stack!.split("\n").filter((line) => /^ +at /.test(line))
      assert.match(frames[0] ?? "", /expectations\.test\.ts:\d+/)
      // so does the text that a runner shows, which starts with the message
      const pretty = Cause.pretty(Cause.die(error))
      assert.include(pretty, error.message)
      assert.include(pretty, "expectations.test.ts")
    }).pipe(Effect.provide(TestJobQueue.layer())))

  it.effect("can be reused: each check reports the current state", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const twice = expectPolls(job, 2)
      const first = yield* defectOf(twice)
      assert.include(first.message, "there were 0")
      yield* JobQueue.status(job)
      assert.include(yield* messageOf(twice), "there were 1")
      assert.include(first.message, "there were 0")
      yield* JobQueue.status(job)
      yield* twice
    }).pipe(Effect.provide(TestJobQueue.layer())))
})
