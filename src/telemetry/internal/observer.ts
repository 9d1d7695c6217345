/**
 * Makes the traces and the metrics of jobs from the notices of their watches.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Tracer from "effect/Tracer"
import type { JobRef, JobStatus } from "../../model/Job.js"
import type { QueueError } from "../../model/QueueError.js"
import { Cursor, isTerminal, type Terminal } from "../../model/Transition.js"
import * as Fiber from "../../queue/internal/fiber.js"
import type { DeriveRules, Notice } from "../../watch/internal/notice.js"
import type { Observer } from "../../watch/internal/observed.js"
import { deriveFrom } from "../../watch/internal/reader.js"
import { Retention } from "../../watch/internal/retention.js"
import * as History from "./history.js"
import type { JobMetrics } from "./metrics.js"
import * as Spans from "./spans.js"
import * as TraceContext from "./traceContext.js"

/** A job that is watched. @internal */
export interface Watched {
  readonly job: JobRef
  /** The current span where the first watch began; `undefined` if nothing is traced there. */
  readonly parent: Option.Option<Tracer.AnySpan> | undefined
  cursor: Cursor | undefined
  /** The last snapshot. */
  status: JobStatus | undefined
  /** From the first transition until the job ends, if it is traced. */
  history: History.History | undefined
  /** The last error, while polls fail. */
  trouble: QueueError | undefined
}

// A job that is watched again after this many others counts as new.
const maxPast = 10_000

/** @internal */
export class JobObserver implements Observer<Watched> {
  /** The cursors of the jobs that are not watched any more. */
  private readonly past = new Retention<Cursor>(maxPast)

  constructor(private readonly metrics: JobMetrics, private readonly clockAhead: () => number) {}

  /** The job continues from where its last watch here ended. */
  begin(job: JobRef, from: Cursor | undefined, fiber: Fiber.Fiber<unknown, unknown>): Watched {
    return {
      job,
      parent: Fiber.isExported(fiber) ? Option.fromNullable(fiber.currentSpan) : undefined,
      cursor: this.past.take(job, 0) ?? from,
      status: undefined,
      history: undefined,
      trouble: undefined
    }
  }

  onNotice(watched: Watched, notice: Notice, rules: DeriveRules): Effect.Effect<void> | undefined {
    if (notice._tag === "Sample") return this.onSample(watched, notice, rules)
    if (notice._tag === "Trouble") this.onTrouble(watched, notice.error)
    if (notice._tag === "Recovered") this.recover(watched)
    return undefined
  }

  end(watched: Watched): Effect.Effect<void> | undefined {
    const { cursor, history, job } = watched
    this.recover(watched)
    if (cursor !== undefined) {
      // the cursor of a job that goes on refers to its `info`: a copy does not
      this.past.set(job, cursor.phase === "Ended" ? cursor : new Cursor({ ...cursor }), Infinity, 0)
    }
    return history && this.draw(watched, history, undefined)
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
      this.metrics.step(transition)
      if (watched.parent === undefined) continue
      const history = watched.history ??= History.begin(transition)
      if (!isTerminal(transition)) History.add(history, transition)
      else {
        watched.history = undefined
        return this.draw(watched, history, transition)
      }
    }
    return undefined
  }

  /** Each subscription reports the same error. */
  private onTrouble(watched: Watched, error: QueueError): void {
    if (watched.trouble === error) return
    this.metrics.trouble(watched.job.model, error, watched.trouble === undefined)
    watched.trouble = error
  }

  private recover(watched: Watched): void {
    if (watched.trouble === undefined) return
    watched.trouble = undefined
    this.metrics.recovered(watched.job.model)
  }

  private draw(
    { parent, status }: Watched,
    history: History.History,
    last: Terminal | undefined
  ): Effect.Effect<void> | undefined {
    return parent &&
      Effect.zipWith(Effect.tracer, Clock.currentTimeMillis, (tracer, now) => {
        // a job keeps its `info`
        const submit = status && TraceContext.parse(status.info)
        Spans.draw({ tracer, parent, submit, clockAhead: this.clockAhead() }, history, last, now)
      }).pipe(
        Effect.catchAllDefect((defect) => Effect.logWarning("The spans of a job could not be made", defect)),
        Effect.uninterruptible
      )
  }
}
