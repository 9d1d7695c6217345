/**
 * Every check of a stand-in for the service with scripted workers, such as the in-memory queue or the emulator: the
 * public checks, and the checks of the behaviour that the stand-ins share, to the millisecond and to the text of errors.
 */
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import { type JobQueue, JobWatcher } from "../../../src/index.js"
import { Conformance } from "../../../src/testing/index.js"
import type { Worker } from "../../../src/testing/index.js"
import { runCheck } from "../../../src/testing/internal/conformance/harness.js"
import { queueChecks } from "../../../src/testing/internal/conformance/queue.js"
import { watcherChecks } from "../../../src/testing/internal/conformance/watcher.js"
import { calls } from "./calls.js"
import { workers } from "./workers.js"

export interface Subject {
  /** The queue, built anew for each check. Without workers, no job is claimed. */
  readonly layer: (workers?: Worker.Pool) => Layer.Layer<JobQueue.JobQueue, unknown>
  readonly pass: Conformance.Target["pass"]
  readonly watcher?: Parameters<typeof Conformance.watcherChecks>[0]["watcher"] | undefined
}

const specs = [...queueChecks, ...calls, ...workers, ...watcherChecks]

export const model = "my-org/video-generator"

export const checks = (
  { layer, pass, watcher = JobWatcher.layer() }: Subject
): ReadonlyArray<Conformance.Check> =>
  specs.map((spec) => ({
    name: spec.name,
    run: Effect.mapError(
      runCheck(
        { layer: layer(spec.workers), watcher, pass, model, payload: { prompt: "a cat at the piano" } },
        spec
      ),
      (failure) => new Conformance.ConformanceFailure(failure)
    )
  }))
