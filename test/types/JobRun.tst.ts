import type { Scope, Stream } from "effect"
import { Effect, Schedule, Schema } from "effect"
import type { Job, JobQueue, JobWatcher } from "effect-queue-status"
import { JobRun, JobStage, QueueError } from "effect-queue-status"
import { describe, expect, test } from "tstyche"

const request: JobQueue.SubmitRequest = { model: "model", payload: {} }

declare const leg: Effect.Effect<number, "no", "service">

describe("JobRun", () => {
  test("submit needs only the queue, with or without a journal", () => {
    expect(JobRun.submit(request, { key: "k" })).type.toBe<
      Effect.Effect<Job.JobRef, QueueError.SubmitError, JobQueue.JobQueue>
    >()
  })

  test("a scoped job requires a scope", () => {
    expect(JobRun.scoped(request)).type.toBe<
      Effect.Effect<Job.JobRef, QueueError.SubmitError, JobQueue.JobQueue | Scope.Scope>
    >()
  })

  test("run returns a JSON object, or the schema's type with the schema's requirements", () => {
    expect(JobRun.run(request)).type.toBe<
      Effect.Effect<Job.JsonObject, QueueError.RunError, JobQueue.JobQueue | JobWatcher.JobWatcher>
    >()
    const needy: Schema.Schema<number, string, "service"> = Schema.NumberFromString
    expect(JobRun.run(request, needy, { onInterrupt: "leave" })).type.toBe<
      Effect.Effect<number, QueueError.RunError, JobQueue.JobQueue | JobWatcher.JobWatcher | "service">
    >()
  })

  test("its options are those of a watch, and its own", () => {
    type Given = JobRun.RunOptions
    expect<Given>().type.toBeAssignableFrom({ cadence: Schedule.spaced("1 second"), key: "k" })
    expect<Given>().type.not.toBeAssignableFrom<{ readonly onInterrupt: "stop" }>()
    expect<Given>().type.not.toBeAssignableFrom<{ readonly resubmit: "3 times" }>()
  })

  test("runs and submits are repeated while their error is transient", () => {
    const run = JobRun.run(request).pipe(Effect.retry({ while: QueueError.isTransient, times: 3 }))
    expect(run).type.toBe<
      Effect.Effect<Job.JsonObject, QueueError.RunError, JobQueue.JobQueue | JobWatcher.JobWatcher>
    >()
    const submit = JobRun.submit(request).pipe(Effect.retry({ while: QueueError.isTransient, times: 3 }))
    expect(submit).type.toBe<Effect.Effect<Job.JobRef, QueueError.SubmitError, JobQueue.JobQueue>>()
    expect(QueueError.isTransient).type.toBeCallableWith({} as QueueError.WatchError)
    expect(QueueError.mayHaveArrived).type.toBeCallableWith({} as QueueError.SubmitError)
    // a job may exist after an error of its watch, whatever that error is
    expect(QueueError.mayHaveArrived).type.not.toBeCallableWith({} as QueueError.RunError)
  })

  test("combinators keep the errors and requirements of their effects", () => {
    expect(JobRun.events(leg)).type.toBe<Stream.Stream<JobRun.Event<number>, "no", "service">>()
  })
})

describe("JobStage", () => {
  const stage = JobStage.make("stage", {
    model: "model",
    payload: Schema.Struct({ seed: Schema.NumberFromString }),
    outputs: Schema.Struct({ width: Schema.NumberFromString })
  })

  test("is a function from the decoded payload to the decoded outputs", () => {
    expect(stage).type.toBe<JobStage.Stage<{ readonly seed: number }, { readonly width: number }>>()
    expect(stage({ seed: 1 }, { key: "k" })).type.toBe<
      Effect.Effect<{ readonly width: number }, JobStage.StageFailed, JobQueue.JobQueue | JobWatcher.JobWatcher>
    >()
    expect(stage).type.not.toBeCallableWith({ seed: "1" })
  })

  test("a payload must be a JSON object on the wire", () => {
    expect(JobStage.make).type.not.toBeCallableWith("stage", {
      model: "model",
      payload: Schema.String,
      outputs: Schema.Unknown
    })
  })
})
