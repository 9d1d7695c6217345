import type { Effect, Scope, Stream } from "effect"
import { Schedule, Schema } from "effect"
import type { Job, JobQueue, JobWatcher, QueueError } from "effect-queue-status"
import { JobRun, JobStage } from "effect-queue-status"
import { describe, expect, test } from "tstyche"

const request: JobQueue.SubmitRequest = { model: "model", payload: {} }

declare const leg: Effect.Effect<number, "no", "service">

describe("JobRun", () => {
  test("submit needs the queue alone, journal or not", () => {
    expect(JobRun.submit(request, { key: "k" })).type.toBe<
      Effect.Effect<Job.JobRef, QueueError.SubmitError, JobQueue.JobQueue>
    >()
  })

  test("who asks for a job in a scope needs one", () => {
    expect(JobRun.scoped(request)).type.toBe<
      Effect.Effect<Job.JobRef, QueueError.SubmitError, JobQueue.JobQueue | Scope.Scope>
    >()
  })

  test("run gives a JSON object, or what the schema decodes to, and needs what that needs", () => {
    expect(JobRun.run(request)).type.toBe<
      Effect.Effect<Job.JsonObject, QueueError.RunError, JobQueue.JobQueue | JobWatcher.JobWatcher>
    >()
    const needy: Schema.Schema<number, string, "service"> = Schema.NumberFromString
    expect(JobRun.run(request, needy, { onInterrupt: "leave" })).type.toBe<
      Effect.Effect<number, QueueError.RunError, JobQueue.JobQueue | JobWatcher.JobWatcher | "service">
    >()
  })

  test("its options are those of a watch, and no others but its own", () => {
    type Given = JobRun.RunOptions
    expect<Given>().type.toBeAssignableFrom({ cadence: Schedule.spaced("1 second"), key: "k" })
    expect<Given>().type.not.toBeAssignableFrom<{ readonly onInterrupt: "stop" }>()
    expect<Given>().type.not.toBeAssignableFrom<{ readonly resubmit: "3 times" }>()
  })

  test("what combines effects keeps their errors and needs", () => {
    expect(JobRun.events(leg)).type.toBe<Stream.Stream<JobRun.Event<number>, "no", "service">>()
  })
})

describe("JobStage", () => {
  const stage = JobStage.make("stage", {
    model: "model",
    payload: Schema.Struct({ seed: Schema.NumberFromString }),
    outputs: Schema.Struct({ width: Schema.NumberFromString })
  })

  test("is a function from what its payload decodes to, to what its outputs decode to", () => {
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
