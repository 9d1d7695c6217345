import type { Layer } from "effect"
import type { JobQueue, JobWatcher } from "effect-queue-status"
import { JobTelemetry } from "effect-queue-status"
import { describe, expect, test } from "tstyche"

describe("JobTelemetry", () => {
  test("the layer needs a watcher, and provides one", () => {
    expect(JobTelemetry.layer).type.toBe<Layer.Layer<JobWatcher.JobWatcher, never, JobWatcher.JobWatcher>>()
  })

  test("the propagation needs a queue, and provides one", () => {
    expect(JobTelemetry.propagation).type.toBe<Layer.Layer<JobQueue.JobQueue, never, JobQueue.JobQueue>>()
  })
})
