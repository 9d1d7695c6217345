import type { Layer } from "effect"
import type { JobWatcher } from "effect-queue-status"
import { JobTelemetry } from "effect-queue-status"
import { describe, expect, test } from "tstyche"

describe("JobTelemetry", () => {
  test("the layer needs a watcher, and is one", () => {
    expect(JobTelemetry.layer).type.toBe<Layer.Layer<JobWatcher.JobWatcher, never, JobWatcher.JobWatcher>>()
  })
})
