import type { HttpClient } from "@effect/platform"
import type { ConfigError, Effect, Layer } from "effect"
import { Schedule, Schema, Stream } from "effect"
import type { Cadence, JobWatcher, QueueError, Retry, Transition } from "effect-queue-status"
import { Deadline, Job, JobQueue, JobStream, WatchPolicy } from "effect-queue-status"
import { TestJobQueue } from "effect-queue-status/testing"
import { describe, expect, test } from "tstyche"

const job = Job.ref("model", "id")

describe("JobStream", () => {
  test("transitions fail with the errors of a watch, and need only the queue", () => {
    expect(JobStream.transitions(job)).type.toBe<
      Stream.Stream<Transition.Transition, QueueError.WatchError, JobWatcher.JobWatcher>
    >()
  })

  test("statuses fail with the errors of a watch, and need only the queue", () => {
    expect(JobStream.statuses(job)).type.toBe<
      Stream.Stream<Job.JobStatus, QueueError.WatchError, JobWatcher.JobWatcher>
    >()
  })

  test("result without a schema is a JSON object", () => {
    expect(JobStream.result(job)).type.toBe<
      Effect.Effect<Job.JsonObject, QueueError.WatchError | QueueError.OutcomeError, JobWatcher.JobWatcher>
    >()
  })

  test("result with a schema has the schema's type and requirements", () => {
    const Video = Schema.Struct({ seconds: Schema.NumberFromString })
    expect(JobStream.result(job, Video)).type.toBe<
      Effect.Effect<
        { readonly seconds: number },
        QueueError.WatchError | QueueError.OutcomeError,
        JobWatcher.JobWatcher
      >
    >()
    const needy: Schema.Schema<number, string, "service"> = Schema.NumberFromString
    expect(JobStream.result(job, needy)).type.toBe<
      Effect.Effect<number, QueueError.WatchError | QueueError.OutcomeError, JobWatcher.JobWatcher | "service">
    >()
  })

  test("watchAll takes references, with or without a cursor, and keeps the errors and requirements of their stream", () => {
    const jobs: Stream.Stream<Job.JobRef | JobStream.Known, "no", "service"> = Stream.make(job, { job }, {
      job,
      from: {} as Transition.Cursor
    })
    expect(JobStream.watchAll(jobs)).type.toBe<
      Stream.Stream<Transition.Transition | JobStream.WatchFailed, "no", JobWatcher.JobWatcher | "service">
    >()
    expect(JobStream.watchAll).type.not.toBeCallableWith(Stream.make({ from: {} as Transition.Cursor }))
  })

  test("options accept a partial policy and a cursor", () => {
    type Given = NonNullable<Parameters<typeof JobStream.transitions>[1]>
    expect<Given>().type.toBeAssignableFrom({ cadence: Schedule.spaced("1 second") })
    expect<Given>().type.toBeAssignableFrom({ deadline: Deadline.total("1 hour"), retry: Schedule.recurs(3) })
    expect<Given>().type.toBeAssignableFrom(WatchPolicy.defaultPolicy)
    expect<Given>().type.toBeAssignableFrom<{ readonly from: Transition.Cursor }>()
    expect<Given>().type.not.toBeAssignableFrom<{ readonly interval: number }>()
    expect<NonNullable<Parameters<typeof JobStream.statuses>[1]>>().type.not.toBeAssignableFrom<
      { readonly from: Transition.Cursor }
    >()
  })
})

describe("policies", () => {
  test("a schedule that accepts every snapshot is a cadence; one that accepts only some is not", () => {
    expect<Cadence.Cadence>().type.toBeAssignableFrom(Schedule.spaced("1 second"))
    expect<Cadence.Cadence>().type.toBeAssignableFrom(Schedule.identity<Job.JobStatus>())
    expect<Cadence.Cadence>().type.not.toBeAssignableFrom(Schedule.identity<Job.Running>())
  })

  test("a schedule that accepts every error is a retry; one that accepts only some is not", () => {
    expect<Retry.Retry>().type.toBeAssignableFrom(Schedule.recurs(3))
    expect<Retry.Retry>().type.toBeAssignableFrom(Schedule.identity<QueueError.QueueError>())
    expect<Retry.Retry>().type.not.toBeAssignableFrom(Schedule.identity<QueueError.RateLimited>())
  })
})

describe("JobQueue", () => {
  test("calls fail with a QueueError, and need only the queue", () => {
    expect(JobQueue.status(job)).type.toBe<Effect.Effect<Job.JobStatus, QueueError.QueueError, JobQueue.JobQueue>>()
    expect(JobQueue.submit({ model: "m", payload: {} })).type.toBe<
      Effect.Effect<Job.JobRef, QueueError.QueueError, JobQueue.JobQueue>
    >()
    expect(JobQueue.cancel(job)).type.toBe<
      Effect.Effect<JobQueue.CancelResult, QueueError.QueueError, JobQueue.JobQueue>
    >()
  })

  test("a plain object is a reference", () => {
    expect<Parameters<typeof JobQueue.status>[0]>().type.toBeAssignableFrom({ model: "m", requestId: "1" })
    expect<Parameters<typeof JobQueue.status>[0]>().type.not.toBeAssignableFrom({ model: "m" })
  })

  test("layers need an HttpClient", () => {
    expect(JobQueue.layer()).type.toBe<
      Layer.Layer<JobQueue.JobQueue, ConfigError.ConfigError, HttpClient.HttpClient>
    >()
  })

  test("the in-memory queue has no requirements and cannot fail", () => {
    expect(TestJobQueue.layer()).type.toBe<
      Layer.Layer<JobQueue.JobQueue | JobWatcher.JobWatcher | TestJobQueue.TestJobQueue>
    >()
  })
})

describe("schemas", () => {
  test("decode to the types that streams emit", () => {
    expect<Schema.Schema.Type<typeof Job.JobStatus>>().type.toBe<Job.JobStatus>()
    expect<Schema.Schema.Type<typeof Transition.Transition>>().type.toBeAssignableTo<Transition.Transition>()
    expect<Schema.Schema.Type<typeof Transition.Transition>>().type.toBeAssignableFrom<Transition.Transition>()
    expect<Schema.Schema.Context<typeof Transition.Transition>>().type.toBe<never>()
  })
})
