/**
 * Checks that every implementation of `JobQueue` or `JobWatcher` passes, for any test runner: the queue in memory, the
 * client over HTTP, a cache in front of it, the queue of another vendor, a watcher of your own.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type { JsonObject } from "../model/Job.js"
import type { JobQueue } from "../queue/JobQueue.js"
import * as JobWatcher from "../watch/JobWatcher.js"
import { runCheck } from "./internal/conformance/harness.js"
import type { Spec, Subject } from "./internal/conformance/harness.js"
import { queueChecks } from "./internal/conformance/queue.js"
import * as Internal from "./internal/conformance/watcher.js"
import { diffLines } from "./internal/diff.js"
import * as TestJobQueue from "./TestJobQueue.js"

/**
 * What the checks may do to a queue.
 *
 * - `shared`: others use the queue, such as that of the service. Checks submit a few jobs of the lowest priority and cancel
 *   them; they count nothing and never call `clear`.
 * - `exclusive`: only the checks use the queue of the model. They clear it, and count its jobs.
 */
type Access = "shared" | "exclusive"

/**
 * A queue to check. `E` is the error of its layer, which fails the check.
 *
 * @since 0.1.0
 * @category models
 */
export interface Target<out E = never> {
  /** The queue. It is built anew for each check. */
  readonly layer: Layer.Layer<JobQueue, E>
  /** Lets time pass, for the queue and for the check: `TestClock.adjust`, or `Effect.sleep`. */
  readonly pass: (duration: Duration.DurationInput) => Effect.Effect<void>
  /** What the checks may do to the queue. Defaults to `shared`. */
  readonly access?: Access | undefined
  /**
   * The model of the submitted jobs. The real service has a queue only for deployed models. Defaults to
   * "my-org/video-generator".
   */
  readonly model?: string | undefined
  /** The payload of the submitted jobs. Defaults to a prompt. */
  readonly payload?: JsonObject | undefined
}

/** A watcher to check. `E` is the error of its layer, which fails the check. */
interface WatcherTarget<out E = never> extends Pick<Target, "pass"> {
  /** The watcher, of the jobs of a queue in memory. It is built anew for each check. */
  readonly watcher: Layer.Layer<JobWatcher.JobWatcher, E, JobQueue>
}

/**
 * A check failed. `message` has what was expected (`-`), what came instead (`+`), and the calls that led there.
 *
 * - `check`: the name of the check.
 * - `what`: the value that differs, or an unexpected error.
 * - `expected` and `actual`: the values as lines of JSON; missing after an unexpected error.
 * - `calls`: the calls that the check made, oldest first.
 *
 * @since 0.1.0
 * @category errors
 */
export class ConformanceFailure
  extends Schema.TaggedError<ConformanceFailure>("effect-queue-status.ConformanceFailure")("ConformanceFailure", {
    check: Schema.String,
    what: Schema.String,
    expected: Schema.optional(Schema.String),
    actual: Schema.optional(Schema.String),
    calls: Schema.Array(Schema.String)
  })
{
  /**
   * @since 0.1.0
   */
  override get message(): string {
    const { actual, calls, check, expected, what } = this
    return [
      check,
      what,
      ...(expected === undefined || actual === undefined
        ? []
        : ["", "- expected", "+ actual", "", diffLines(expected.split("\n"), actual.split("\n"))]),
      ...(calls.length === 0 ? [] : ["", "calls:", ...calls.map((call) => `  ${call}`)])
    ].join("\n")
  }
}

/**
 * A check of a queue or of a watcher.
 *
 * @since 0.1.0
 * @category models
 */
export interface Check {
  /** The unique name of the check. */
  readonly name: string
  /**
   * Runs the check; it may run again. It fails only with a `ConformanceFailure`, also after a defect of the queue. A queue
   * that hangs makes the check hang: the test runner sets the time limit.
   */
  readonly run: Effect.Effect<void, ConformanceFailure>
}

const toCheck = <LE, WE>(subject: Subject<LE, WE>, spec: Spec): Check => ({
  name: spec.name,
  run: Effect.mapError(runCheck(subject, spec), (failure) => new ConformanceFailure(failure))
})

const defaults = { model: "my-org/video-generator", payload: { prompt: "a cat at the piano" } }

/**
 * Returns the checks of a queue that its `access` allows.
 *
 * @example
 * import { Conformance, TestJobQueue } from "effect-queue-status/testing"
 * import { TestClock } from "effect"
 *
 * // with @effect/vitest: for (const check of checks) it.effect(check.name, () => check.run)
 * const checks = Conformance.checks({
 *   layer: TestJobQueue.layer(),
 *   pass: TestClock.adjust,
 *   access: "exclusive"
 * })
 *
 * @since 0.1.0
 * @category checks
 */
export const checks = <E = never>(subject: Target<E>): ReadonlyArray<Check> => {
  const { access = "shared", layer, model = defaults.model, pass, payload = defaults.payload } = subject
  const target = { layer, watcher: JobWatcher.layer(), pass, model, payload }
  return queueChecks
    .filter(({ needs }) => needs === "shared" || needs === access)
    .map((spec) => toCheck(target, spec))
}

/**
 * Returns the checks of a watcher, on a queue in memory with scripted workers.
 *
 * @since 0.1.0
 * @category checks
 */
export const watcherChecks = <E = never>({ pass, watcher }: WatcherTarget<E>): ReadonlyArray<Check> =>
  Internal.watcherChecks.map((spec) =>
    toCheck({ layer: TestJobQueue.layer({ workers: spec.workers }), watcher, pass, ...defaults }, spec)
  )
