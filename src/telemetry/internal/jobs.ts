/**
 * The jobs that the subscriptions of a watcher watch, each of them once.
 */
import type * as Option from "effect/Option"
import type * as Tracer from "effect/Tracer"
import type { Rules } from "../../model/internal/rules.js"
import type { JobRef } from "../../model/Job.js"
import type { QueueError } from "../../model/QueueError.js"
import * as Transition from "../../model/Transition.js"
import type { WatchPolicy } from "../../policy/WatchPolicy.js"
import { deriveFrom } from "../../watch/internal/reader.js"
import type * as JobWatcher from "../../watch/JobWatcher.js"
import * as History from "./history.js"
import * as Metrics from "./metrics.js"

type NoticeOf<Tag extends JobWatcher.Notice["_tag"]> = Extract<JobWatcher.Notice, { readonly _tag: Tag }>

/** A job that at least one subscription watches. @internal */
export interface Watched {
  readonly key: string
  readonly job: JobRef
  /** The span that was current where the first watch began. */
  readonly parent: Option.Option<Tracer.AnySpan>
  watches: number
  cursor: Transition.Cursor | undefined
  /** From the first transition until the job ends. */
  history: History.History | undefined
  /** The last error, while polls fail. */
  trouble: QueueError | undefined
}

// A job that is watched again after this many others counts as new.
const maxPast = 10_000

/** @internal */
export class Jobs {
  private readonly watched = new Map<string, Watched>()
  /** The cursors of the jobs that are not watched any more, oldest first. */
  private readonly past = new Map<string, Transition.Cursor>()
  private readonly metrics = Metrics.make()

  /** Adds a watch. The job continues from where its last watch here ended. */
  join(
    key: string,
    job: JobRef,
    from: Transition.Cursor | undefined,
    parent: Option.Option<Tracer.AnySpan>
  ): Watched {
    let watched = this.watched.get(key)
    if (watched === undefined) {
      const cursor = this.past.get(key) ?? from
      watched = { key, job, parent, watches: 0, cursor, history: undefined, trouble: undefined }
      this.watched.set(key, watched)
    }
    watched.watches++
    return watched
  }

  /** Removes a watch. Returns the job if it was the last watch, and the job has not ended. */
  leave(watched: Watched, now: number): History.Ended | undefined {
    if (--watched.watches > 0) return undefined
    const { cursor, history, key } = watched
    this.recover(watched)
    this.watched.delete(key)
    this.past.delete(key)
    if (cursor !== undefined) {
      // a copy: the cursor refers to `info`
      this.past.set(key, new Transition.Cursor({ ...cursor }))
      if (this.past.size > maxPast) this.past.delete(this.past.keys().next().value as string) // it is not empty
    }
    return history && History.leave(history, now)
  }

  /** Adds what a sample shows. Returns the job if it has ended. */
  see(watched: Watched, sample: NoticeOf<"Sample">, rules: Rules, policy: WatchPolicy): History.Ended | undefined {
    const derived = deriveFrom(watched.cursor, sample, { policy, rules })
    // the watch itself fails then
    if (derived._tag === "Left") return undefined
    const { cursor, transitions } = derived.right
    watched.cursor = cursor
    for (const transition of transitions) {
      const history = watched.history ??= History.begin(transition)
      this.metrics.step(history, transition)
      const ended = History.add(history, transition)
      if (ended === undefined) continue
      watched.history = undefined
      return ended
    }
    return undefined
  }

  /** Each subscription reports the same error. */
  trouble(watched: Watched, { error }: NoticeOf<"Trouble">): void {
    if (watched.trouble === error) return
    this.metrics.trouble(watched.job.model, error, watched.trouble === undefined)
    watched.trouble = error
  }

  recover(watched: Watched): void {
    if (watched.trouble === undefined) return
    watched.trouble = undefined
    this.metrics.recovered(watched.job.model)
  }
}
