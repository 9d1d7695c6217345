/**
 * What a watch makes of the queue: every life that a job can have, told whole.
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
import { expect, expectThat, pool, spec, view } from "./harness.js"
import type { Harness, Spec } from "./harness.js"
import { stepsOf } from "./path.js"

const policy = { ...defaultPolicy, cadence: Cadence.fixed(minPause) }

const watched = ({ inTime }: Harness, job: Job.JobRef, from?: Transition.Cursor) =>
  inTime("a watch", Stream.runCollect(JobStream.transitions(job, { ...policy, from }))).pipe(
    Effect.map(Chunk.toReadonlyArray)
  )

/** Progress is conflated: how much of it is seen is a matter of luck. */
const stepsWithoutProgress = (transitions: ReadonlyArray<Transition.Transition>) =>
  stepsOf(transitions.filter(({ _tag }) => _tag !== "Progressed"))

const outcomeOf = ({ inTime }: Harness, job: Job.JobRef) =>
  Effect.match(inTime("a result", JobStream.result(job, policy)), {
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

const lives: Worker.Script = ({ attempt, payload }) => {
  switch (payload["do"]) {
    case "finish":
      return [Worker.progress("60 millis", 0.5), Worker.finish("60 millis", { answer: 42 })]
    case "fail":
      return [Worker.fail("60 millis", "CUDA out of memory")]
    case "die":
      return []
    case "die twice":
      return attempt === 3 ? [Worker.finish("60 millis", { by: attempt })] : []
    default:
      return [Worker.finish("1 hour")]
  }
}

const mortal = pool(lives, { claimTimeout: "100 millis" })

/** A life from beginning to end: the steps of its watch, and what its result is. */
const life = (
  name: string,
  payload: Job.JsonObject,
  steps: ReadonlyArray<string>,
  outcome: (job: Job.JobRef) => object
): Spec =>
  spec("scripted", name, (harness) =>
    Effect.gen(function*() {
      const job = yield* JobQueue.submit({ model: harness.model, payload })
      const transitions = yield* watched(harness, job)
      yield* expect("the steps of its life", stepsWithoutProgress(transitions), steps)
      const { claimedAt, createdAt, doneAt } = view(yield* JobQueue.status(job))
      const at = (transition: Transition.Transition | undefined) =>
        Option.getOrNull(Option.map(transition?.at ?? Option.none(), ({ epochMillis }) => epochMillis))
      yield* expect("the times of its beginning, its last claim and its end", [
        at(transitions[0]),
        at(transitions.filter(({ _tag }) => _tag === "Claimed").at(-1)),
        at(transitions.at(-1))
      ], [createdAt, claimedAt, doneAt])
      yield* expect("its result", yield* outcomeOf(harness, job), outcome(job))
      // whoever comes when it is over is told the same
      yield* expect("the steps, told afterwards", stepsWithoutProgress(yield* watched(harness, job)), steps)
    }), mortal)

/** @internal */
export const watching: ReadonlyArray<Spec> = [
  life(
    "watch: a job that is done",
    { do: "finish" },
    ["Queued 0", "Claimed 1", "Completed 1"],
    () => ({ outputs: { answer: 42 } })
  ),

  life(
    "watch: a job that the model fails",
    { do: "fail" },
    ["Queued 0", "Claimed 1", "FailedByModel 1"],
    (job) => ({ _tag: "JobFailed", job, reason: "CUDA out of memory", state: "Failed" })
  ),

  life(
    "watch: a job that two workers lose and a third one does",
    { do: "die twice" },
    ["Queued 0", "Claimed 1", "Requeued 1", "Claimed 2", "Requeued 2", "Claimed 3", "Completed 3"],
    () => ({ outputs: { by: 3 } })
  ),

  life(
    "watch: a job that uses up its retries",
    { do: "die" },
    [
      ...["Queued 0", "Claimed 1", "Requeued 1", "Claimed 2", "Requeued 2"],
      ...["Claimed 3", "Requeued 3", "Claimed 4", "RetriesExhausted 4"]
    ],
    (job) => ({ _tag: "JobRetriesExhausted", job, attempts: 4, state: "Failed" })
  ),

  spec("scripted", "watch: a job that is canceled", (harness) =>
    Effect.gen(function*() {
      const job = yield* JobQueue.submit({ model: harness.model, payload: {} })
      const seen: Array<Transition.Transition> = []
      const watch = JobStream.transitions(job, policy).pipe(
        // it is canceled as soon as the watch has begun
        Stream.tap((transition) =>
          Effect.sync(() => seen.push(transition)).pipe(
            Effect.zipRight(transition._tag === "Queued" ? Effect.asVoid(JobQueue.cancel(job)) : Effect.void)
          )
        ),
        Stream.runDrain
      )
      yield* harness.inTime("a watch", watch)
      yield* expect("the steps of its life", stepsOf(seen), ["Queued 0", "Canceled 0"])
      yield* expect("its result", yield* outcomeOf(harness, job), { _tag: "JobCanceled", job, state: "Canceled" })
    })),

  spec(
    "scripted",
    "watch: goes on from the cursor of any step with the very next one",
    (harness) =>
      Effect.gen(function*() {
        const job = yield* JobQueue.submit({ model: harness.model, payload: { do: "die twice" } })
        const all = yield* watched(harness, job)
        const steps = stepsOf(all)
        for (const [i, { cursor }] of all.entries()) {
          const known = yield* Schema.decode(Transition.CursorFromString)(Transition.formatCursor(cursor)).pipe(
            Effect.orDie
          )
          yield* expect(`the steps after ${steps[i]}`, stepsOf(yield* watched(harness, job, known)), steps.slice(i + 1))
        }
        yield* expectThat("the steps of its life", steps, steps.length >= 7, "seven, at the least")
      }),
    mortal
  ),

  spec("scripted", "watch: tells progress, and what changed", (harness) =>
    Effect.gen(function*() {
      const job = yield* JobQueue.submit({ model: harness.model, payload: {}, info: { user_id: "u" } })
      const transitions = yield* watched(harness, job)
      const progressed = transitions.filter((transition) => transition._tag === "Progressed")
      yield* expect(
        "the last progress that was told",
        progressed.slice(-1).map(({ changed, progress }) => ({ changed, progress: Option.getOrNull(progress) })),
        [{ changed: { progress: 0.5 }, progress: 0.5 }]
      )
    }), pool(Worker.always(Worker.progress("200 millis", 0.5), Worker.finish("400 millis")), { pickup: "100 millis" }))
]
