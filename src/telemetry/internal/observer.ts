/**
 * Makes the traces and the metrics of jobs from the notices of their watches.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type * as Tracer from "effect/Tracer"
import { keyOf } from "../../model/internal/jobKey.js"
import type { JobRef, JobStatus } from "../../model/Job.js"
import type { QueueError } from "../../model/QueueError.js"
import { Cursor, isTerminal } from "../../model/Transition.js"
import { isExported } from "../../queue/internal/fiber.js"
import type { Notice } from "../../watch/internal/notice.js"
import type { Observer } from "../../watch/internal/observed.js"
import { deriveFrom, type DeriveRules } from "../../watch/internal/reader.js"
import * as History from "./history.js"
import * as Metrics from "./metrics.js"
import * as Spans from "./spans.js"
import * as TraceContext from "./traceContext.js"

/** A job that is watched. @internal */
export interface Watched {
  readonly job: JobRef
  /** The tracer and the current span where the first watch began; `undefined` if nothing is traced there. */
  readonly parent: Option.Option<Tracer.AnySpan> | undefined
  cursor: Cursor | undefined
  /** The last snapshot. */
  status: JobStatus | undefined
  /** From the first transition until the job ends. */
  history: History.History | undefined
  /** The last error, while polls fail. */
  trouble: QueueError | undefined
}

// A job that is watched again after this many others counts as new.
const maxPast = 10_000

/** @internal */
export class JobObserver implements Observer<Watched> {
  /** The cursors of the jobs that are not watched any more, oldest first. */
  private readonly past = new Map<string, Cursor>()
  private readonly metrics = Metrics.make()

  constructor(private readonly clockAhead: () => number = () => 0) {}

  /** The job continues from where its last watch here ended. */
  begin(job: JobRef, from: Cursor | undefined): Effect.Effect<Watched> {
    return Effect.zipWith(isExported, Effect.option(Effect.currentParentSpan), (isTraced, parent) => ({
      job,
      parent: isTraced ? parent : undefined,
      cursor: this.past.get(keyOf(job)) ?? from,
      status: undefined,
      history: undefined,
      trouble: undefined
    }))
  }

  onNotice(watched: Watched, notice: Notice, rules: DeriveRules): Effect.Effect<void> | undefined {
    switch (notice._tag) {
      case "Sample":
        return this.onSample(watched, notice, rules)
      case "Trouble":
        return this.onTrouble(watched, notice.error)
      case "Recovered":
        return this.recover(watched)
      case "Ended":
        return undefined
    }
  }

  end(watched: Watched): Effect.Effect<void> | undefined {
    const { cursor, history, job } = watched
    const key = keyOf(job)
    this.recover(watched)
    this.past.delete(key)
    if (cursor !== undefined) {
      // a copy: the cursor refers to `info`
      this.past.set(key, new Cursor({ ...cursor }))
      if (this.past.size > maxPast) this.past.delete(this.past.keys().next().value as string) // it is not empty
    }
    return history === undefined
      ? undefined
      : this.draw(watched, (now) => History.leave(history, now))
  }

  private onSample(
    watched: Watched,
    sample: Extract<Notice, { readonly _tag: "Sample" }>,
    rules: DeriveRules
  ): Effect.Effect<void> | undefined {
    // most polls show nothing new, and several subscriptions receive the same snapshot
    if (watched.status === sample.status) return undefined
    const derived = deriveFrom(watched.cursor, sample, rules)
    // this watch fails then, another one may not
    if (derived._tag === "Left") return undefined
    watched.status = sample.status
    const { cursor, transitions } = derived.right
    watched.cursor = cursor
    for (const transition of transitions) {
      const history = watched.history ??= History.begin(transition, watched.parent !== undefined)
      this.metrics.step(history, transition)
      if (!isTerminal(transition)) History.add(history, transition)
      else {
        watched.history = undefined
        return this.draw(watched, () => History.end(history, transition))
      }
    }
    return undefined
  }

  /** Each subscription reports the same error. */
  private onTrouble(watched: Watched, error: QueueError): undefined {
    if (watched.trouble === error) return
    this.metrics.trouble(watched.job.model, error, watched.trouble === undefined)
    watched.trouble = error
  }

  private recover(watched: Watched): undefined {
    if (watched.trouble === undefined) return
    watched.trouble = undefined
    this.metrics.recovered(watched.job.model)
  }

  private draw({ parent, status }: Watched, end: (now: number) => History.Ended): Effect.Effect<void> | undefined {
    return parent &&
      Effect.zipWith(Effect.tracer, Clock.currentTimeMillis, (tracer, now) =>
        // a job keeps its `info`
        Spans.draw(tracer, parent, status && TraceContext.parse(status.info), end(now), this.clockAhead())).pipe(
          Effect.catchAllDefect((defect) => Effect.logWarning("The spans of a job could not be made", defect)),
          Effect.uninterruptible
        )
  }
}
