/**
 * The checks of a watcher: through `JobStream`, the transitions and the result of every path that a job can take; through
 * the port, `JobWatcher.subscribe`, the notices of each kind of subscription.
 *
 * @internal
 */
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type * as Job from "../../../model/Job.js"
import * as Transition from "../../../model/Transition.js"
import * as Cadence from "../../../policy/Cadence.js"
import * as Deadline from "../../../policy/Deadline.js"
import { minPause } from "../../../policy/internal/pauses.js"
import { defaultPolicy } from "../../../policy/WatchPolicy.js"
import type { WatchPolicy } from "../../../policy/WatchPolicy.js"
import * as JobQueue from "../../../queue/JobQueue.js"
import * as JobStream from "../../../watch/JobStream.js"
import { JobWatcher } from "../../../watch/JobWatcher.js"
import type { Notice, SubscribeOptions, Subscription } from "../../../watch/JobWatcher.js"
import * as Worker from "../../Worker.js"
import { same } from "../diff.js"
import { expect, expectThat, inTime, pool, specs, view } from "./harness.js"
import type { Checks, Spec, Target } from "./harness.js"
import { stepsOf, stepsWithoutProgress } from "./path.js"

const policy = { ...defaultPolicy, cadence: Cadence.fixed(minPause) }

const submit = ({ model, payload }: Target) => JobQueue.submit({ model, payload })

// -----------------------------------------------------------------------------
// through JobStream
// -----------------------------------------------------------------------------

const watched = (target: Target, job: Job.JobRef, from?: Transition.Cursor) =>
  inTime(target, "a watch", Stream.runCollect(JobStream.transitions(job, { ...policy, from }))).pipe(
    Effect.map(Chunk.toReadonlyArray)
  )

/** Returns the outputs, or the fields of the error, with the state of its snapshot in place of the snapshot. */
const resultOf = (target: Target, job: Job.JobRef) =>
  Effect.match(inTime(target, "a result", JobStream.result(job, policy)), {
    onSuccess: (outputs): object => ({ outputs }),
    onFailure: (error): object => {
      const { snapshot, ...fields } = { snapshot: undefined, ...error }
      return { ...fields, state: snapshot?._tag }
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
const path = (payload: Job.JsonObject, steps: ReadonlyArray<string>, result: (job: Job.JobRef) => object) =>
  function*(target: Target) {
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
  }

const streamChecks: Checks = {
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

  *"watch: resumes from the cursor of any step with the next step"(target) {
    const job = yield* JobQueue.submit({ model: target.model, payload: { do: "die twice" } })
    const all = yield* watched(target, job)
    const steps = stepsOf(all)
    for (const [i, { cursor }] of all.entries()) {
      const known = Either.getOrThrow(Transition.parseCursor(Transition.formatCursor(cursor)))
      yield* expect(`the steps after ${steps[i]}`, stepsOf(yield* watched(target, job, known)), steps.slice(i + 1))
    }
    yield* expectThat("the steps of the job", steps, steps.length >= 7, "at least seven")
  },

  *"watch: reports progress, and the keys of info that changed"(target) {
    const job = yield* JobQueue.submit({ model: target.model, payload: { do: "report" }, info: { user_id: "u" } })
    const transitions = yield* watched(target, job)
    const progressed = transitions.filter((transition) => transition._tag === "Progressed")
    const snapshots = Array.from(new Set(transitions.map(({ snapshot }) => snapshot)))
    yield* expect(
      "the last progress",
      progressed.slice(-1).map(({ progress }) => Option.getOrNull(progress)),
      [0.5]
    )
    for (const { changed, snapshot } of progressed) {
      // a poll that is late may be the first one, and then every key is new
      const earlier = snapshots[snapshots.indexOf(snapshot) - 1]?.info ?? {}
      const isNew = ([key, value]: readonly [string, unknown]) => !same(earlier[key], value)
      yield* expect("the keys that changed", changed, Object.fromEntries(Object.entries(snapshot.info).filter(isNew)))
    }
  }
}

// -----------------------------------------------------------------------------
// through the port
// -----------------------------------------------------------------------------

const slowly = pool(
  Worker.always(...Worker.progressInSteps(4, "120 millis"), Worker.finish("120 millis", { answer: 42 })),
  { pickup: "300 millis" }
)

const subscribe = (wants: SubscribeOptions["wants"], by: WatchPolicy = policy) =>
  Effect.flatMap(JobWatcher, (watcher) => watcher.subscribe({ policy: by, wants }))

const subscribeTo = (job: Job.JobRef, wants: SubscribeOptions["wants"]) =>
  Effect.tap(subscribe(wants), (subscription) => subscription.add(job))

/** Collects the notices until this number of jobs has ended, and derives transitions from each sample. */
const untilEnded = (target: Target, subscription: Subscription, jobs = 1) =>
  inTime(
    target,
    "a subscription",
    Effect.gen(function*() {
      const notices: Array<Notice> = []
      const transitions: Array<Transition.Transition> = []
      for (let left = jobs; left > 0;) {
        for (const notice of yield* subscription.next) {
          notices.push(notice)
          if (notice._tag === "Ended") left--
          if (notice._tag !== "Sample") continue
          for (const transition of yield* derive(notice)) transitions.push(transition)
        }
      }
      return { notices, transitions }
    })
  )

const allSteps = ["Queued 0", "Claimed 1", "Completed 1"]

const derive = ({ at, status, watch }: Extract<Notice, { readonly _tag: "Sample" }>) =>
  Effect.map(Transition.derive(Option.fromNullable(watch.cursor), status, { observedAt: at }), (derived) => {
    watch.cursor = derived.cursor
    return derived.transitions
  })

/** Expects the steps of a job, as a subscription shows them until it ends. */
const expectSteps = (target: Target, subscription: Subscription, steps: ReadonlyArray<string> = allSteps) =>
  Effect.flatMap(
    untilEnded(target, subscription),
    ({ transitions }) => expect("the steps", stepsWithoutProgress(transitions), steps)
  )

const tagsOf = (notices: ReadonlyArray<Notice>) =>
  notices.map((notice) => notice._tag === "Sample" ? notice.status._tag : notice._tag)

const positions: { readonly [tag in Job.JobStatus["_tag"]]?: number } = { Pending: 0, Running: 1, Done: 2 }

const portChecks: Checks = {
  *"subscribe: samples come in the order of the states of the job, and its end comes last"(target) {
    const job = yield* submit(target)
    const subscription = yield* subscribeTo(job, "polls")
    const { notices, transitions } = yield* untilEnded(target, subscription)
    const tags = tagsOf(notices)
    yield* expect("the last two notices", tags.slice(-2), ["Done", "Ended"])
    const order = notices.flatMap((notice) => notice._tag === "Sample" ? [positions[notice.status._tag] ?? -1] : [])
    yield* expect("the states, in order", order, Array.from(order).sort((a, b) => a - b))
    yield* expect("the steps that they show", stepsWithoutProgress(transitions), allSteps)
  },

  *"subscribe: a subscription to ends has one sample, from which the last step derives"(target) {
    const job = yield* submit(target)
    const subscription = yield* subscribeTo(job, "end")
    const { notices, transitions } = yield* untilEnded(target, subscription)
    yield* expect("the notices", tagsOf(notices), ["Done", "Ended"])
    yield* expect("the last step", stepsWithoutProgress(transitions).slice(-1), allSteps.slice(-1))
  },

  *"subscribe: a slow subscriber receives only the latest snapshot, and derives every step from it"(target) {
    const job = yield* submit(target)
    const subscription = yield* subscribeTo(job, "changes")
    yield* target.pass("1500 millis")
    const { notices, transitions } = yield* untilEnded(target, subscription)
    yield* expectThat(
      "the notices",
      tagsOf(notices),
      notices.length <= 3,
      "at most one that was waiting, and the end"
    )
    yield* expect("the steps", stepsWithoutProgress(transitions), allSteps)
  },

  *"subscribe: a late subscriber receives the steps of the job from its beginning"(target) {
    const job = yield* submit(target)
    const first = yield* subscribeTo(job, "changes")
    yield* target.pass("500 millis")
    const second = yield* subscribeTo(job, "changes")
    yield* expectSteps(target, first)
    yield* expectSteps(target, second)
    yield* expectSteps(target, yield* subscribeTo(job, "changes"))
  },

  *"subscribe: a job that is added again is watched once"(target) {
    const jobs = yield* Effect.replicateEffect(submit(target), 3)
    const subscription = yield* subscribe("changes")
    const added = yield* Effect.forEach([...jobs, ...jobs], (job) => subscription.add(job))
    yield* expect("the results of adding them", added, [true, true, true, false, false, false])
    const { notices } = yield* untilEnded(target, subscription, 3)
    const ended = notices.flatMap((notice) => notice._tag === "Ended" ? [notice.watch.job.requestId] : [])
    yield* expect("the jobs that ended", ended.sort(), jobs.map(({ requestId }) => requestId).sort())
  }
}

// Their jobs are not claimed.
const pendingChecks: Checks = {
  *"watch: a job that is canceled"(target) {
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
  },

  *"subscribe: a subscription to polls has several samples of a state that does not change"(target) {
    const job = yield* submit(target)
    const subscription = yield* subscribeTo(job, "polls")
    let tags: ReadonlyArray<string> = []
    // the job waits for this, however few polls a busy machine makes
    while (tags.length < 3) {
      tags = [...tags, ...tagsOf(Chunk.toReadonlyArray(yield* inTime(target, "the next samples", subscription.next)))]
    }
    yield* expect("the states", new Set(tags), new Set(["Pending"]))
    yield* JobQueue.cancel(job)
    const { notices } = yield* untilEnded(target, subscription)
    yield* expect("the last two notices", tagsOf(notices).slice(-2), ["Canceled", "Ended"])
  },

  *"subscribe: a deadline ends only its own subscription"(target) {
    const job = yield* submit(target)
    const first = yield* subscribe("changes", { ...policy, deadline: Deadline.total("200 millis") })
    const second = yield* subscribe("changes")
    yield* first.add(job)
    yield* second.add(job)
    const { notices } = yield* untilEnded(target, first)
    const last = notices.at(-1)
    const failed = last?._tag === "Ended" && Exit.isFailure(last.exit) && last.exit.cause._tag === "Fail"
      ? last.exit.cause.error._tag
      : "no failure"
    yield* expect("the error of the first", failed, "WatchTimeout")
    yield* JobQueue.cancel(job)
    yield* expectSteps(target, second, ["Queued 0", "Canceled 0"])
  }
}

/** @internal */
export const watcherChecks: ReadonlyArray<Spec> = [
  ...specs("scripted", streamChecks, shortClaims),
  ...specs("scripted", portChecks, slowly),
  ...specs("scripted", pendingChecks)
]
