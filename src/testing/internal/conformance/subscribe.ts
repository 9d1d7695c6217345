/** The checks of a watcher through its port: `JobWatcher.subscribe`. @internal */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type * as Job from "../../../model/Job.js"
import * as Transition from "../../../model/Transition.js"
import * as Cadence from "../../../policy/Cadence.js"
import * as Deadline from "../../../policy/Deadline.js"
import { minPause } from "../../../policy/internal/pauses.js"
import { defaultPolicy } from "../../../policy/WatchPolicy.js"
import type { WatchPolicy } from "../../../policy/WatchPolicy.js"
import * as JobQueue from "../../../queue/JobQueue.js"
import { JobWatcher } from "../../../watch/JobWatcher.js"
import type { Notice, SubscribeOptions, Subscription } from "../../../watch/JobWatcher.js"
import * as Worker from "../../Worker.js"
import { expect, expectThat, inTime, pool, specs } from "./harness.js"
import type { Checks, Spec, Target } from "./harness.js"
import { stepsWithoutProgress } from "./path.js"

const policy = { ...defaultPolicy, cadence: Cadence.fixed(minPause) }

const slowly = pool(
  Worker.always(...Worker.progressInSteps(4, "120 millis"), Worker.finish("120 millis", { answer: 42 })),
  { pickup: "300 millis" }
)

const submit = ({ model, payload }: Target) => JobQueue.submit({ model, payload })

const subscribe = (wants: SubscribeOptions["wants"], by: WatchPolicy = policy) =>
  Effect.flatMap(JobWatcher, (watcher) => watcher.subscribe({ policy: by, wants }))

/** Subscribes to a job. */
const subscribeTo = (job: Job.JobRef, wants: SubscribeOptions["wants"], by?: WatchPolicy) =>
  Effect.tap(subscribe(wants, by), (subscription) => subscription.add(job))

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

const derive = ({ at, status, watch }: Extract<Notice, { readonly _tag: "Sample" }>) =>
  Effect.map(Transition.derive(Option.fromNullable(watch.cursor), status, { observedAt: at }), (derived) => {
    watch.cursor = derived.cursor
    return derived.transitions
  })

const tagsOf = (notices: ReadonlyArray<Notice>) =>
  notices.map((notice) => notice._tag === "Sample" ? notice.status._tag : notice._tag)

const allSteps = ["Queued 0", "Claimed 1", "Completed 1"]

const positions: { readonly [tag in Job.JobStatus["_tag"]]?: number } = { Pending: 0, Running: 1, Done: 2 }

const checks: Checks = {
  "subscribe: samples come in the order of the states of the job, and its end comes last": (target) =>
    Effect.gen(function*() {
      const job = yield* submit(target)
      const subscription = yield* subscribeTo(job, "polls")
      const { notices, transitions } = yield* untilEnded(target, subscription)
      const tags = tagsOf(notices)
      yield* expect("the last two notices", tags.slice(-2), ["Done", "Ended"])
      const order = notices.flatMap((notice) => notice._tag === "Sample" ? [positions[notice.status._tag] ?? -1] : [])
      yield* expect("the states, in order", order, Array.from(order).sort((a, b) => a - b))
      // as many as polls, which are few where time is real and the machine is busy
      yield* expectThat("the samples", tags, tags.length > new Set(tags).size, "several of one state")
      yield* expect("the steps that they show", stepsWithoutProgress(transitions), allSteps)
    }),

  "subscribe: a subscription to ends has one sample, from which the last step derives": (target) =>
    Effect.gen(function*() {
      const job = yield* submit(target)
      const subscription = yield* subscribeTo(job, "end")
      const { notices, transitions } = yield* untilEnded(target, subscription)
      yield* expect("the notices", tagsOf(notices), ["Done", "Ended"])
      yield* expect("the last step", stepsWithoutProgress(transitions).slice(-1), allSteps.slice(-1))
    }),

  "subscribe: a slow subscriber receives only the latest snapshot, and derives every step from it": (target) =>
    Effect.gen(function*() {
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
    }),

  "subscribe: a late subscriber receives the steps of the job from its beginning": (target) =>
    Effect.gen(function*() {
      const job = yield* submit(target)
      const first = yield* subscribeTo(job, "changes")
      yield* target.pass("500 millis")
      const second = yield* subscribeTo(job, "changes")
      for (const subscription of [first, second]) {
        const { transitions } = yield* untilEnded(target, subscription)
        yield* expect("the steps", stepsWithoutProgress(transitions), allSteps)
      }
      const third = yield* subscribeTo(job, "changes")
      const { transitions } = yield* untilEnded(target, third)
      yield* expect("the steps, afterwards", stepsWithoutProgress(transitions), allSteps)
    }),

  "subscribe: a job that is added again is watched once": (target) =>
    Effect.gen(function*() {
      const jobs = yield* Effect.replicateEffect(submit(target), 3)
      const subscription = yield* subscribe("changes")
      const added = yield* Effect.forEach([...jobs, ...jobs], (job) => subscription.add(job))
      yield* expect("the results of adding them", added, [true, true, true, false, false, false])
      const { notices } = yield* untilEnded(target, subscription, 3)
      const ended = notices.flatMap((notice) => notice._tag === "Ended" ? [notice.watch.job.requestId] : [])
      yield* expect("the jobs that ended", ended.sort(), jobs.map(({ requestId }) => requestId).sort())
    })
}

// Their jobs are not claimed.
const pendingChecks: Checks = {
  "subscribe: a deadline ends only its own subscription": (target) =>
    Effect.gen(function*() {
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
      const { transitions } = yield* untilEnded(target, second)
      yield* expect("the steps of the other", stepsWithoutProgress(transitions), ["Queued 0", "Canceled 0"])
    })
}

/** @internal */
export const subscribeChecks: ReadonlyArray<Spec> = [
  ...specs("scripted", checks, slowly),
  ...specs("scripted", pendingChecks)
]
