/**
 * What a watcher promises its subscribers.
 *
 * @internal
 */
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
import type { Notice, Sample, SubscribeOptions, Subscription } from "../../../watch/JobWatcher.js"
import * as Worker from "../../Worker.js"
import { expect, expectThat, pool, spec } from "./harness.js"
import type { Harness, Spec } from "./harness.js"
import { stepsOf } from "./path.js"

const policy = { ...defaultPolicy, cadence: Cadence.fixed(minPause) }

const slowly = pool(
  Worker.always(...Worker.progressInSteps(4, "120 millis"), Worker.finish("120 millis", { answer: 42 })),
  { pickup: "300 millis" }
)

const submit = ({ model, payload }: Harness) => JobQueue.submit({ model, payload })

const subscribe = (wants: SubscribeOptions["wants"], by: WatchPolicy = policy) =>
  Effect.flatMap(JobWatcher, (watcher) => watcher.subscribe({ policy: by, wants }))

/** All notices up to the last one of so many jobs; the subscriber derives from each sample as it comes. */
const untilEnded = (subscription: Subscription, jobs = 1) =>
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

const derive = ({ at, status, watch }: Sample) =>
  Effect.map(Transition.derive(Option.fromNullable(watch.cursor), status, { observedAt: at }), (derived) => {
    watch.cursor = derived.cursor
    return derived.transitions
  })

const tagsOf = (notices: ReadonlyArray<Notice>) =>
  notices.map((notice) => notice._tag === "Sample" ? notice.status._tag : notice._tag)

const steps = (transitions: ReadonlyArray<Transition.Transition>) =>
  stepsOf(transitions.filter(({ _tag }) => _tag !== "Progressed"))

const wholeLife = ["Queued 0", "Claimed 1", "Completed 1"]

const positions: { readonly [tag in Job.JobStatus["_tag"]]?: number } = { Pending: 0, Running: 1, Done: 2 }

/** @internal */
export const subscribing: ReadonlyArray<Spec> = [
  spec(
    "scripted",
    "subscribe: samples come in the order of the life of the job, and its end comes last",
    (harness) =>
      Effect.gen(function*() {
        const job = yield* submit(harness)
        const subscription = yield* subscribe("polls")
        yield* subscription.add(job)
        const { notices, transitions } = yield* harness.inTime("a subscription", untilEnded(subscription))
        const tags = tagsOf(notices)
        yield* expect("the last two notices", tags.slice(-2), ["Done", "Ended"])
        const order = notices.flatMap((notice) => notice._tag === "Sample" ? [positions[notice.status._tag] ?? -1] : [])
        yield* expect("the states, in order", order, Array.from(order).sort((a, b) => a - b))
        yield* expectThat("the samples", tags, tags.length > 6, "one for each poll")
        yield* expect("the steps that they show", steps(transitions), wholeLife)
      }).pipe(Effect.scoped),
    slowly
  ),

  spec(
    "scripted",
    "subscribe: a subscription to ends has one sample, from which the last step derives",
    (harness) =>
      Effect.gen(function*() {
        const job = yield* submit(harness)
        const subscription = yield* subscribe("end")
        yield* subscription.add(job)
        const { notices, transitions } = yield* harness.inTime("a subscription", untilEnded(subscription))
        yield* expect("the notices", tagsOf(notices), ["Done", "Ended"])
        yield* expect("the last step", steps(transitions).slice(-1), wholeLife.slice(-1))
      }).pipe(Effect.scoped),
    slowly
  ),

  spec(
    "scripted",
    "subscribe: one that is slow receives the latest snapshot, and every step derives from it",
    (harness) =>
      Effect.gen(function*() {
        const job = yield* submit(harness)
        const subscription = yield* subscribe("changes")
        yield* subscription.add(job)
        yield* harness.pass("1500 millis")
        const { notices, transitions } = yield* harness.inTime("a subscription", untilEnded(subscription))
        yield* expectThat(
          "the notices",
          tagsOf(notices),
          notices.length <= 3,
          "no more than one that was waiting, and the end"
        )
        yield* expect("the steps", steps(transitions), wholeLife)
      }).pipe(Effect.scoped),
    slowly
  ),

  spec(
    "scripted",
    "subscribe: one that comes late is given the life of the job from its beginning",
    (harness) =>
      Effect.gen(function*() {
        const job = yield* submit(harness)
        const first = yield* subscribe("changes")
        yield* first.add(job)
        yield* harness.pass("500 millis")
        const second = yield* subscribe("changes")
        yield* second.add(job)
        for (const subscription of [first, second]) {
          const { transitions } = yield* harness.inTime("a subscription", untilEnded(subscription))
          yield* expect("the steps", steps(transitions), wholeLife)
        }
        const third = yield* subscribe("changes")
        yield* third.add(job)
        const { transitions } = yield* harness.inTime("a subscription to a job that has ended", untilEnded(third))
        yield* expect("the steps, afterwards", steps(transitions), wholeLife)
      }).pipe(Effect.scoped),
    slowly
  ),

  spec("scripted", "subscribe: a job that is added again is watched once", (harness) =>
    Effect.gen(function*() {
      const jobs = yield* Effect.replicateEffect(submit(harness), 3)
      const subscription = yield* subscribe("changes")
      const added = yield* Effect.forEach([...jobs, ...jobs], (job) => subscription.add(job))
      yield* expect("what adding them returned", added, [true, true, true, false, false, false])
      const { notices } = yield* harness.inTime("a subscription", untilEnded(subscription, 3))
      const ended = notices.flatMap((notice) => notice._tag === "Ended" ? [notice.watch.job.requestId] : [])
      yield* expect("the jobs that ended", ended.sort(), jobs.map(({ requestId }) => requestId).sort())
    }).pipe(Effect.scoped), slowly),

  spec("scripted", "subscribe: deadlines are each subscription's own", (harness) =>
    Effect.gen(function*() {
      const job = yield* submit(harness)
      const hasty = yield* subscribe("changes", { ...policy, deadline: Deadline.total("200 millis") })
      const patient = yield* subscribe("changes")
      yield* hasty.add(job)
      yield* patient.add(job)
      const { notices } = yield* harness.inTime("a subscription", untilEnded(hasty))
      const last = notices.at(-1)
      const failed = last?._tag === "Ended" && Exit.isFailure(last.exit) && last.exit.cause._tag === "Fail"
        ? last.exit.cause.error._tag
        : "no failure"
      yield* expect("how the hasty one ended", failed, "WatchTimeout")
      yield* JobQueue.cancel(job)
      const { transitions } = yield* harness.inTime("a subscription", untilEnded(patient))
      yield* expect("the steps of the patient one", steps(transitions), ["Queued 0", "Canceled 0"])
    }).pipe(Effect.scoped))
]
