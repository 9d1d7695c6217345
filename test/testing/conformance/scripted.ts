/**
 * Every check of a stand-in for the service, such as the queue in memory or the emulator, whose workers follow a script:
 * the public ones, and those of the readings that the stand-ins agree on, to the millisecond and to the words of errors.
 */
import type * as Layer from "effect/Layer"
import { type JobQueue, JobWatcher } from "../../../src/index.js"
import { Conformance } from "../../../src/testing/index.js"
import type { Worker } from "../../../src/testing/index.js"
import { runCheck } from "../../../src/testing/internal/conformance/harness.js"
import { queueChecks } from "../../../src/testing/internal/conformance/queue.js"
import { subscribeChecks } from "../../../src/testing/internal/conformance/subscribe.js"
import { watchChecks } from "../../../src/testing/internal/conformance/watch.js"
import { calls } from "./calls.js"
import { workers } from "./workers.js"

export interface Subject {
  /** The queue, built anew for each check. Where a check names no workers, no job is claimed. */
  readonly layer: (workers?: Worker.Pool) => Layer.Layer<JobQueue.JobQueue, unknown>
  readonly pass: Conformance.Target["pass"]
  readonly watcher?: Parameters<typeof Conformance.watcherChecks>[0]["watcher"] | undefined
}

const specs = [...queueChecks, ...calls, ...workers, ...watchChecks, ...subscribeChecks]

export const model = "my-org/video-generator"

export const checks = (
  { layer, pass, watcher = JobWatcher.layer() }: Subject
): ReadonlyArray<Conformance.Check> =>
  specs.map((spec) => ({
    name: spec.name,
    run: runCheck(
      { layer: layer(spec.workers), watcher, pass, model, payload: { prompt: "a cat at the piano" } },
      spec,
      (failure) => new Conformance.ConformanceFailure(failure)
    )
  }))
