/**
 * Traces and metrics of jobs, made from their transitions: what happened on the server, by the server's times.
 *
 * Each combinator passes a stream on unchanged. What it keeps of a job is small and bounded, and dropped when the job
 * ends. A stream may be of one job, or of many, each of them once.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { keyOf } from "../model/internal/jobKey.js"
import { isTracerEnabled } from "../queue/internal/fiber.js"
import type * as JobStream from "../watch/JobStream.js"
import * as History from "./internal/history.js"
import * as Metrics from "./internal/metrics.js"
import * as Spans from "./internal/spans.js"

type Element = JobStream.WatchEvent | JobStream.WatchFailed

/** Passes a stream on, and calls `onEnd` with each job that ends, or whose watch ends before it. */
const observe = <A extends Element, E, R>(
  self: Stream.Stream<A, E, R>,
  onEnd: (ended: History.Ended) => Effect.Effect<unknown>
): Stream.Stream<A, E, R> =>
  Stream.suspend(() => {
    const histories = new Map<string, History.History>()

    const read = (element: Element, now: number): History.Ended | undefined => {
      if (element._tag === "Trouble" || element._tag === "Recovered") return undefined
      const key = keyOf(element.job)
      const known = histories.get(key)
      if (element._tag === "WatchFailed") {
        histories.delete(key)
        return known && History.leave(known, now)
      }
      const history = known ?? History.begin(element)
      const ended = History.add(history, element)
      if (ended !== undefined) histories.delete(key)
      else if (known === undefined) histories.set(key, history)
      return ended
    }

    const report = (ended: Iterable<History.Ended>) =>
      Effect.uninterruptible(Effect.forEach(ended, onEnd, { discard: true }))

    return self.pipe(
      Stream.mapChunksEffect((chunk) =>
        Effect.flatMap(Clock.currentTimeMillis, (now) => {
          const ended = Array.from(chunk).flatMap((element) => read(element, now) ?? [])
          return Effect.as(report(ended), chunk)
        })
      ),
      Stream.ensuring(
        Effect.flatMap(
          Clock.currentTimeMillis,
          (now) => report(Array.from(histories.values(), (history) => History.leave(history, now)))
        )
      )
    )
  })

/**
 * Makes a trace of each job: a span `job`, whose children are the times in the queue (`queued`, `requeued`) and the
 * attempts (`attempt 1`, `attempt 2`, …). The parent of `job` is the current span when the stream starts.
 *
 * - The spans of a job are made when it ends, with the server's times. A time that the server did not report is that of
 *   the observation, between the reported times around it, and is marked as estimated.
 * - A lost or failed attempt and a failed job are errors, with the reason as the message.
 * - If the stream ends before the job, `job` ends then, as interrupted. The phase that is open is left out: a watch that
 *   resumes from the cursor makes its span, marked as resumed, so that no attempt is counted twice.
 * - Errors of the tracer are logged, and do not affect the stream.
 *
 * @example
 * import { JobStream, JobTelemetry } from "effect-queue-status"
 * import type { Job } from "effect-queue-status"
 * import { Effect, Stream } from "effect"
 *
 * const follow = (jobs: ReadonlyArray<Job.JobRef>) =>
 *   JobStream.watchAll(Stream.fromIterable(jobs)).pipe(
 *     JobTelemetry.traced,
 *     Stream.runForEach((step) => Effect.log(step._tag, step.job.requestId)),
 *     Effect.withSpan("follow")
 *   )
 *
 * @since 0.1.0
 * @category combinators
 */
export const traced = <A extends JobStream.WatchEvent | JobStream.WatchFailed, E, R>(
  self: Stream.Stream<A, E, R>
): Stream.Stream<A, E, R> =>
  observe(self, (ended) =>
    Effect.zipWith(
      Effect.tracer,
      Effect.option(Effect.currentParentSpan),
      (tracer, parent) => Spans.draw(tracer, parent, ended)
    ).pipe(
      Effect.catchAllDefect((defect) => Effect.logWarning("The spans of a job could not be made", defect)),
      Effect.whenEffect(isTracerEnabled)
    ))

/**
 * Updates the metrics of jobs: the times in the queue and of attempts, and, when a job ends, its attempts, its outcome and
 * how long its end went unobserved. They are tagged by model, never by job.
 *
 * Durations count only if the server reported both ends. A watch that resumes from a cursor counts nothing twice.
 *
 * @example
 * import { JobStream, JobTelemetry } from "effect-queue-status"
 * import type { Job } from "effect-queue-status"
 * import { Stream } from "effect"
 *
 * const follow = (jobs: ReadonlyArray<Job.JobRef>) =>
 *   JobStream.watchAll(Stream.fromIterable(jobs)).pipe(
 *     JobTelemetry.metered,
 *     Stream.runDrain
 *   )
 *
 * @since 0.1.0
 * @category combinators
 */
export const metered = <A extends JobStream.WatchEvent | JobStream.WatchFailed, E, R>(
  self: Stream.Stream<A, E, R>
): Stream.Stream<A, E, R> => Stream.suspend(() => observe(self, Metrics.make()))
