/**
 * Helpers for the checks of a scripted queue, in addition to those for any queue.
 */
import * as Effect from "effect/Effect"
import * as Job from "../../../src/model/Job.js"
import { CancelResult, JobQueue } from "../../../src/queue/JobQueue.js"
import * as Harness from "../../../src/testing/internal/conformance/harness.js"
import type { CheckError, Spec, Target } from "../../../src/testing/internal/conformance/harness.js"
import type { Pool } from "../../../src/testing/Worker.js"

export {
  bad,
  errorOf,
  expect,
  expectThat,
  pool,
  unknownId,
  view
} from "../../../src/testing/internal/conformance/harness.js"
export { Difference } from "../../../src/testing/internal/conformance/harness.js"
export type { Spec } from "../../../src/testing/internal/conformance/harness.js"

interface ScriptedHarness extends Target {
  /** Polls a job until its status satisfies `isSo`. */
  readonly until: (
    job: Job.JobRef,
    what: string,
    isSo: (status: Job.JobStatus) => boolean
  ) => Effect.Effect<Job.JobStatus, CheckError, JobQueue>
  /** Polls a job until it is done, failed or canceled. */
  readonly untilOver: (job: Job.JobRef) => Effect.Effect<Job.JobStatus, CheckError, JobQueue>
  readonly inTime: <A, E, R>(
    what: string,
    effect: Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | Harness.Difference, R>
}

const makeHarness = (target: Target): ScriptedHarness => {
  const until: ScriptedHarness["until"] = (job, what, isSo) =>
    Effect.gen(function*() {
      const queue = yield* JobQueue
      let status = yield* queue.status(job)
      for (const pause of Harness.pauses) {
        if (isSo(status)) return status
        yield* target.pass(pause)
        status = yield* queue.status(job)
      }
      return yield* new Harness.Difference({
        what: "a job",
        expected: what,
        actual: JSON.stringify(Harness.view(status), null, 2)
      })
    })
  return {
    ...target,
    until,
    untilOver: (job) => until(job, "over", Job.isTerminal),
    inTime: (what, effect) => Harness.inTime(target, what, effect)
  }
}

/** A check of a queue whose workers follow a script. */
export const spec = (
  name: string,
  body: (harness: ScriptedHarness) => ReturnType<Spec["body"]>,
  workers?: Pool
): Spec => ({ name, needs: "scripted", workers, body: (target) => body(makeHarness(target)) })

export const canceled = CancelResult.Canceled()

export const notCanceled = (status: string) => CancelResult.NotCanceled({ status })
