/**
 * The checks of a watcher through `JobStream`: the transitions and the result of every path that a job can take.
 *
 * @internal
 */
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type * as Job from "../../../model/Job.js"
import * as Transition from "../../../model/Transition.js"
import * as Cadence from "../../../policy/Cadence.js"
import { minPause } from "../../../policy/internal/pauses.js"
import { defaultPolicy } from "../../../policy/WatchPolicy.js"
import * as JobQueue from "../../../queue/JobQueue.js"
import * as JobStream from "../../../watch/JobStream.js"
import * as Worker from "../../Worker.js"
import { expect, expectThat, inTime, pool, specs, view } from "./harness.js"
import type { Checks, Spec, Target } from "./harness.js"
import { stepsOf, stepsWithoutProgress } from "./path.js"

const policy = { ...defaultPolicy, cadence: Cadence.fixed(minPause) }

const watched = (target: Target, job: Job.JobRef, from?: Transition.Cursor) =>
  inTime(target, "a watch", Stream.runCollect(JobStream.transitions(job, { ...policy, from }))).pipe(
    Effect.map(Chunk.toReadonlyArray)
  )

const resultOf = (target: Target, job: Job.JobRef) =>
  Effect.match(inTime(target, "a result", JobStream.result(job, policy)), {
    onSuccess: (outputs): object => ({ outputs }),
    onFailure: (error): object => {
      switch (error._tag) {
        case "JobFailed":
          return { _tag: error._tag, job: error.job, reason: error.reason, state: error.snapshot._tag }
        case "JobRetriesExhausted":
          return { _tag: error._tag, job: error.job, attempts: error.attempts, state: error.snapshot._tag }
        case "JobCanceled":
          return { _tag: error._tag, job: error.job, state: error.snapshot._tag }
        default:
          return { _tag: error._tag, message: error.message }
      }
    }
  })

const script: Worker.Script = ({ attempt, payload }) => {
  switch (payload["do"]) {
    case "finish":
      return [Worker.progress("60 millis", 0.5), Worker.finish("60 millis", { answer: 42 })]
    case "report":
      return [Worker.progress("300 millis", 0.5), Worker.finish("400 millis")]
    case "fail":
      return [Worker.fail("60 millis", "CUDA out of memory")]
    case "die":
      return []
    default: // "die twice"
      return attempt === 3 ? [Worker.finish("60 millis", { by: attempt })] : []
  }
}

const shortClaims = pool(script, { claimTimeout: "100 millis" })

/** A job from its submission to its end: its steps, their times, and its result. */
const path = (
  payload: Job.JsonObject,
  steps: ReadonlyArray<string>,
  result: (job: Job.JobRef) => object
): Spec["body"] =>
(target) =>
  Effect.gen(function*() {
    const job = yield* JobQueue.submit({ model: target.model, payload })
    const transitions = yield* watched(target, job)
    yield* expect("the steps of the job", stepsWithoutProgress(transitions), steps)
    const { claimedAt, createdAt, doneAt } = view(yield* JobQueue.status(job))
    const at = (transition: Transition.Transition | undefined) =>
      Option.getOrNull(Option.map(transition?.at ?? Option.none(), ({ epochMillis }) => epochMillis))
    yield* expect("the times of its beginning, its last claim and its end", [
      at(transitions[0]),
      at(transitions.filter(({ _tag }) => _tag === "Claimed").at(-1)),
      at(transitions.at(-1))
    ], [createdAt, claimedAt, doneAt])
    yield* expect("its result", yield* resultOf(target, job), result(job))
    yield* expect("the steps for a later subscriber", stepsWithoutProgress(yield* watched(target, job)), steps)
  })

const checks: Checks = {
  "watch: a job that is done": path(
    { do: "finish" },
    ["Queued 0", "Claimed 1", "Completed 1"],
    () => ({ outputs: { answer: 42 } })
  ),

  "watch: a job that the model fails": path(
    { do: "fail" },
    ["Queued 0", "Claimed 1", "FailedByModel 1"],
    (job) => ({ _tag: "JobFailed", job, reason: "CUDA out of memory", state: "Failed" })
  ),

  "watch: a job that two workers lose and a third one finishes": path(
    { do: "die twice" },
    ["Queued 0", "Claimed 1", "Requeued 1", "Claimed 2", "Requeued 2", "Claimed 3", "Completed 3"],
    () => ({ outputs: { by: 3 } })
  ),

  "watch: a job that has no retries left": path(
    { do: "die" },
    [
      ...["Queued 0", "Claimed 1", "Requeued 1", "Claimed 2", "Requeued 2"],
      ...["Claimed 3", "Requeued 3", "Claimed 4", "RetriesExhausted 4"]
    ],
    (job) => ({ _tag: "JobRetriesExhausted", job, attempts: 4, state: "Failed" })
  ),

  "watch: resumes from the cursor of any step with the next step": (target) =>
    Effect.gen(function*() {
      const job = yield* JobQueue.submit({ model: target.model, payload: { do: "die twice" } })
      const all = yield* watched(target, job)
      const steps = stepsOf(all)
      for (const [i, { cursor }] of all.entries()) {
        const known = yield* Schema.decode(Transition.CursorFromString)(Transition.formatCursor(cursor)).pipe(
          Effect.orDie
        )
        yield* expect(`the steps after ${steps[i]}`, stepsOf(yield* watched(target, job, known)), steps.slice(i + 1))
      }
      yield* expectThat("the steps of the job", steps, steps.length >= 7, "at least seven")
    }),

  "watch: reports progress, and the keys of info that changed": (target) =>
    Effect.gen(function*() {
      const job = yield* JobQueue.submit({ model: target.model, payload: { do: "report" }, info: { user_id: "u" } })
      const transitions = yield* watched(target, job)
      const progressed = transitions.filter((transition) => transition._tag === "Progressed")
      yield* expect(
        "the last progress",
        progressed.slice(-1).map(({ changed, progress }) => ({ changed, progress: Option.getOrNull(progress) })),
        [{ changed: { progress: 0.5 }, progress: 0.5 }]
      )
    })
}

// Its job is not claimed.
const pendingChecks: Checks = {
  "watch: a job that is canceled": (target) =>
    Effect.gen(function*() {
      const job = yield* JobQueue.submit({ model: target.model, payload: {} })
      const seen: Array<Transition.Transition> = []
      const watch = JobStream.transitions(job, policy).pipe(
        Stream.runForEach((transition) =>
          Effect.sync(() => seen.push(transition)).pipe(
            Effect.zipRight(transition._tag === "Queued" ? Effect.asVoid(JobQueue.cancel(job)) : Effect.void)
          )
        )
      )
      yield* inTime(target, "a watch", watch)
      yield* expect("the steps of the job", stepsOf(seen), ["Queued 0", "Canceled 0"])
      yield* expect("its result", yield* resultOf(target, job), { _tag: "JobCanceled", job, state: "Canceled" })
    })
}

/** @internal */
export const watchChecks: ReadonlyArray<Spec> = [
  ...specs("scripted", checks, shortClaims),
  ...specs("scripted", pendingChecks)
]
