/**
 * What every queue does, as checks that any runner of tests can run: the queue in memory, the client over HTTP, and
 * whatever else is a `JobQueue`, another vendor's or a cache in front of this one.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type { JsonObject } from "../model/Job.js"
import type { JobQueue } from "../queue/JobQueue.js"
import * as JobWatcher from "../watch/JobWatcher.js"
import { calls } from "./internal/conformance/calls.js"
import { runCheck } from "./internal/conformance/harness.js"
import type * as Harness from "./internal/conformance/harness.js"
import { shared } from "./internal/conformance/shared.js"
import { subscribing } from "./internal/conformance/subscribing.js"
import { watching } from "./internal/conformance/watching.js"
import { workers } from "./internal/conformance/workers.js"
import { diffLines } from "./internal/diff.js"
import type { Pool } from "./Worker.js"

/**
 * What may be done to a queue. Each allows all that those before it do.
 *
 * - `shared`: others use it, and nobody knows what its workers do: the service itself. Checks submit a few jobs of the
 *   lowest priority and cancel them, whatever happens; they count nothing and never call `clear`.
 * - `exclusive`: nobody else uses the queue of the model. It may be cleared, and what is in it may be counted.
 * - `scripted`: every layer is a queue of its own whose workers do as they are told: a stand-in for the service. It is
 *   held to the readings that the stand-ins of this package agree on, to the millisecond and to the words of refusals.
 *
 * @since 0.1.0
 * @category models
 */
export type Access = Harness.Access

/**
 * A queue to be checked.
 *
 * @since 0.1.0
 * @category models
 */
export interface Subject {
  /**
   * The queue. It is built anew for each check. Only a `scripted` queue is given workers; where a check names none, no
   * job is claimed.
   */
  readonly layer: (workers?: Pool) => Layer.Layer<JobQueue, unknown>
  /** Lets time pass, for the queue and for the check: `TestClock.adjust`, or `Effect.sleep`. */
  readonly pass: (duration: Duration.DurationInput) => Effect.Effect<void>
  /** What may be done to the queue. Defaults to `shared`. */
  readonly access?: Access | undefined
  /**
   * The model that jobs are submitted to. The real service has a queue only for models that are deployed. Defaults to
   * `defaultModel`.
   */
  readonly model?: string | undefined
  /** The payload that is submitted. Defaults to `defaultPayload`. */
  readonly payload?: JsonObject | undefined
  /**
   * What watches the jobs of the queue, for checks whose names begin with `watch` or `subscribe`. To check a watcher, give it
   * here over a queue that passes, as `scripted`. Defaults to `JobWatcher.layer()`.
   */
  readonly watcher?: Layer.Layer<JobWatcher.JobWatcher, never, JobQueue> | undefined
}

/**
 * @since 0.1.0
 * @category constants
 */
export const defaultModel = "my-org/video-generator"

/**
 * @since 0.1.0
 * @category constants
 */
export const defaultPayload: JsonObject = { prompt: "a cat at the piano" }

/**
 * A check failed. `message` says all of it: what was expected (`-`) and what came instead (`+`), line by line, and the
 * calls that led there.
 *
 * - `check`: the name of the check. `what`: what of it does not hold.
 * - `expected` and `actual`: the two, as the lines of their JSON. Neither is there when a call failed that should not
 *   have, or the layer could not be built; then `what` says why.
 * - `calls`: the calls of the queue that the check made, oldest first.
 *
 * @since 0.1.0
 * @category errors
 */
export class ConformanceFailure
  extends Schema.TaggedError<ConformanceFailure>("effect-queue-status/ConformanceFailure")("ConformanceFailure", {
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
      ...(calls.length === 0 ? [] : ["", "what was done:", ...calls.map((call) => `  ${call}`)])
    ].join("\n")
  }
}

/**
 * One thing that every queue does.
 *
 * @since 0.1.0
 * @category models
 */
export interface Check {
  /** The name of the check, different from all others. */
  readonly name: string
  /** The least that must be allowed for the check. */
  readonly needs: Access
  /**
   * Runs the check, as often as wanted. It never fails with anything but a `ConformanceFailure`, bugs of the queue
   * included. A queue that hangs makes it hang, too: the time limit is that of the test runner.
   */
  readonly run: Effect.Effect<void, ConformanceFailure>
}

const levels: ReadonlyArray<Access> = ["shared", "exclusive", "scripted"]

const specs: ReadonlyArray<Harness.Spec> = [...shared, ...calls, ...workers, ...watching, ...subscribing]

/**
 * The checks that a queue can be put to: those that need no more than its `access`.
 *
 * @example
 * import { Conformance, TestJobQueue } from "effect-queue-status/testing"
 * import { TestClock } from "effect"
 *
 * const inMemory: Conformance.Subject = {
 *   layer: (workers) => TestJobQueue.layer({ workers }),
 *   pass: TestClock.adjust,
 *   access: "scripted"
 * }
 *
 * // with @effect/vitest: for (const check of checks) it.effect(check.name, () => check.run)
 * const checks = Conformance.checks(inMemory)
 *
 * @since 0.1.0
 * @category checks
 */
export const checks = (subject: Subject): ReadonlyArray<Check> => {
  const access = subject.access ?? "shared"
  const { layer, model = defaultModel, pass, payload = defaultPayload, watcher = JobWatcher.layer() } = subject
  return specs
    .filter(({ needs }) => levels.indexOf(needs) <= levels.indexOf(access))
    .map((spec) => ({
      name: spec.name,
      needs: spec.needs,
      run: runCheck(
        { layer, watcher, pass, model, payload, access },
        spec,
        (failure) => new ConformanceFailure(failure)
      )
    }))
}
