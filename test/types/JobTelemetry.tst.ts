import type { Effect, Stream } from "effect"
import type { JobQueue, JobWatcher, QueueError, Transition } from "effect-queue-status"
import { Job, JobRun, JobStream, JobTelemetry } from "effect-queue-status"
import { describe, expect, test } from "tstyche"

const job = Job.ref("model", "id")

declare const jobs: Stream.Stream<Job.JobRef, "error", "service">
declare const completed: Stream.Stream<Transition.Completed>
declare const run: Effect.Effect<void, "error", JobQueue.JobQueue>

describe("JobTelemetry", () => {
  test("the type of a stream stays as it is", () => {
    expect(JobStream.transitions(job).pipe(JobTelemetry.traced, JobTelemetry.metered)).type.toBe<
      Stream.Stream<Transition.Transition, QueueError.WatchError, JobWatcher.JobWatcher>
    >()
    expect(JobStream.events(job).pipe(JobTelemetry.traced, JobTelemetry.metered)).type.toBe<
      Stream.Stream<JobStream.WatchEvent, QueueError.WatchError, JobWatcher.JobWatcher>
    >()
    expect(JobStream.watchAll(jobs).pipe(JobTelemetry.traced, JobTelemetry.metered)).type.toBe<
      Stream.Stream<Transition.Transition | JobStream.WatchFailed, "error", "service" | JobWatcher.JobWatcher>
    >()
    expect(JobTelemetry.traced(completed)).type.toBe<Stream.Stream<Transition.Completed>>()
  })

  test("a stream of anything else is rejected", () => {
    expect(JobTelemetry.traced).type.not.toBeCallableWith(JobStream.statuses(job))
    expect(JobTelemetry.metered).type.not.toBeCallableWith(JobStream.statuses(job))
    expect(JobTelemetry.traced).type.not.toBeCallableWith(JobRun.events(run))
  })
})
