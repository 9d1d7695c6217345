/**
 * The checks of a queue whose workers are unknown. They tolerate what the service leaves open: optional fields, a replica
 * that lags, a worker that is faster than the check.
 *
 * @internal
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as Job from "../../../model/Job.js"
import { isTransient } from "../../../model/QueueError.js"
import type { Operation, QueueError } from "../../../model/QueueError.js"
import * as Transition from "../../../model/Transition.js"
import * as Cadence from "../../../policy/Cadence.js"
import { defaultPolicy } from "../../../policy/WatchPolicy.js"
import * as JobQueue from "../../../queue/JobQueue.js"
import * as JobStream from "../../../watch/JobStream.js"
import { inline } from "../diff.js"
import { bad, errorOf, expect, expectThat, inTime, specs, unknownId, view } from "./harness.js"
import type { Checks, Difference, Spec, Target } from "./harness.js"
import { mistakeIn, stepsOf } from "./path.js"

type Queue = JobQueue.JobQueue

// jobs of other users go first
const lowest = -1_000_000

const info = { conformance: "check", attempt: 1 }

const submit = ({ model, payload }: Target) => JobQueue.submit({ model, payload, info, priority: lowest })

const submits = (target: Target, count: number) =>
  Effect.replicateEffect(submit(target), count, { concurrency: "unbounded" })

const maxTries = 20

/**
 * Returns the snapshot of a job that exists, which a replica may not know yet. With `isSo`, it looks again until the
 * snapshot satisfies it, and returns the last snapshot otherwise.
 */
const look = (
  target: Target,
  job: Job.JobRef,
  isSo: (status: Job.JobStatus) => boolean = () => true
): Effect.Effect<Job.JobStatus, QueueError, Queue> => {
  const isSettled = Either.match({
    onLeft: (error: QueueError) => !isTransient(error) && error._tag !== "JobNotFound",
    onRight: isSo
  })
  return Effect.either(JobQueue.status(job)).pipe(
    Effect.tap((seen) => isSettled(seen) ? Effect.void : target.pass("500 millis")),
    Effect.repeat({ until: isSettled, times: maxTries - 1 }),
    Effect.flatten
  )
}

// the largest difference between clocks
const maxSkew = 15 * 60_000

const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && Number(value) >= 0

const expectMetrics = (metrics: JobQueue.QueueMetrics): Effect.Effect<void, Difference> =>
  expectThat(
    "the metrics",
    metrics,
    isCount(metrics.running) && isCount(metrics.waiting) && metrics.total === metrics.running + metrics.waiting,
    "three counts, the total being the sum of the others"
  )

/** Expects that a call fails before it is sent: the error has no status of a response. */
const expectRefused = <A>(operation: Operation, input: unknown, call: Effect.Effect<A, QueueError, Queue>) =>
  Effect.gen(function*() {
    const what = `${operation} of ${inline(input)}, which is refused before anything is sent`
    const error = yield* errorOf(what, call)
    yield* expect(
      what,
      { _tag: error["_tag"], operation: error["operation"], httpStatus: error["httpStatus"] },
      { _tag: "InvalidRequest", operation, httpStatus: undefined }
    )
    yield* expectThat(what, error, /\S/.test(String(error["detail"] ?? "")), "a detail that says what is wrong")
  })

const expectNotFound = (what: string, job: Job.JobRef) =>
  Effect.gen(function*() {
    for (const operation of ["status", "cancel"] as const) {
      const call: Effect.Effect<unknown, QueueError, Queue> = JobQueue[operation](job)
      const error = yield* errorOf(`${operation} of ${what}`, call)
      // the other fields are the words of the service
      const { code: _code, detail: _detail, httpRequestId: _id, param: _param, type: _type, ...rest } = error
      yield* expect(`${operation} of ${what}`, rest, {
        _tag: "JobNotFound",
        operation,
        model: job.model,
        job: { model: job.model, requestId: job.requestId },
        httpStatus: 404
      })
    }
  })

const expectLegal = (transitions: ReadonlyArray<Transition.Transition>) => {
  const mistake = mistakeIn(transitions)
  return expectThat("the steps of the job", stepsOf(transitions), mistake === undefined, `a legal path: ${mistake}`)
}

const sharedQueue: Checks = {
  *"submit: returns a reference whose status shows the job as submitted"(target) {
    const before = yield* Clock.currentTimeMillis
    const job = yield* submit(target)
    const after = yield* Clock.currentTimeMillis
    yield* expect("the model of the reference", job.model, target.model)
    yield* expectThat("the request id", job.requestId, /\S/.test(job.requestId), "not blank")
    const status = yield* look(target, job)
    yield* expect("the job of its status", status.job, job)
    const seen = view(status)
    // a service may omit optional fields
    if (Object.keys(seen.inputs).length > 0) yield* expect("the inputs", seen.inputs, target.payload)
    const keys = Object.keys(info)
    if (Object.keys(seen.info).length > 0) {
      yield* expect("the submitter's keys in the info", keys.filter((key) => Object.hasOwn(seen.info, key)), keys)
    }
    if (seen.priority !== null) yield* expect("the priority", seen.priority, lowest)
    if (seen.createdAt !== null) {
      yield* expectThat(
        "the time of the submission",
        seen.createdAt,
        seen.createdAt >= before - maxSkew && seen.createdAt <= after + maxSkew,
        `between ${before} and ${after}, give or take a quarter of an hour`
      )
    }
    const again = view(yield* look(target, job))
    yield* expect("the fields that do not change", [again.createdAt, again.inputs, again.priority], [
      seen.createdAt,
      seen.inputs,
      seen.priority
    ])
  },

  *"submit: returns a different reference for every job"(target) {
    const jobs = yield* submits(target, 3)
    yield* expect("the different ids among three", new Set(jobs.map(({ requestId }) => requestId)).size, 3)
    for (const job of jobs) yield* expect("the job of its status", (yield* look(target, job)).job, job)
  },

  *"cancel: cancels a job or reports its state, in agreement with its status"(target) {
    const job = yield* submit(target)
    yield* look(target, job)
    const result = yield* JobQueue.cancel(job)
    if (result._tag === "Canceled") {
      const status = yield* look(target, job, (status) => status._tag === "Canceled")
      yield* expect("the state of a job that was canceled", status._tag, "Canceled")
      const again = yield* JobQueue.cancel(job)
      yield* expectThat(
        "cancel of a job that was canceled",
        again,
        again._tag === "Canceled" || again.status === "canceled",
        "Canceled, or NotCanceled with the status canceled"
      )
      return
    }
    const { status: state } = result
    // the possible later states; a worker may lose a running job, and another may claim it
    const later: { readonly [state: string]: ReadonlyArray<string> } = {
      running: ["Pending", "Running", "Done", "Failed"],
      done: ["Done"],
      failed: ["Failed"]
    }
    const possible = later[state] ?? []
    yield* expectThat("why a job was not canceled", state, possible.length > 0, "running, done or failed")
    const { _tag } = yield* look(target, job, ({ _tag }) => possible.includes(_tag))
    yield* expectThat(`the state of a job that was ${state}`, _tag, possible.includes(_tag), possible.join(" or "))
  },

  *"not found: an unknown id"({ model }) {
    yield* expectNotFound("an unknown id", Job.ref(model, unknownId))
  },

  *"not found: a job of another model"(target) {
    const job = yield* submit(target)
    yield* look(target, job)
    yield* expectNotFound("a job of another model", Job.ref(`${target.model}-of-another-name`, job.requestId))
    yield* expect("the job of its model", (yield* look(target, job)).job, job)
  },

  // never a clear: a queue that does not refuse it might clear the jobs of others
  *"bad input: a blank model or id is refused"({ model }) {
    for (const blank of ["", " ", "\t\n"]) {
      const job = Job.ref(blank, unknownId)
      yield* expectRefused("submit", blank, JobQueue.submit({ model: blank, payload: {} }))
      yield* expectRefused("status", blank, JobQueue.status(job))
      yield* expectRefused("cancel", blank, JobQueue.cancel(job))
      yield* expectRefused("metrics", blank, JobQueue.metrics(blank))
    }
    yield* expectRefused("status", " ", JobQueue.status(Job.ref(model, " ")))
    yield* expectRefused("cancel", " ", JobQueue.cancel(Job.ref(model, " ")))
  },

  *"bad input: an invalid submit is refused"({ model }) {
    const cyclic: { self?: unknown } = {}
    cyclic.self = cyclic
    const invalid: ReadonlyArray<object> = [
      { payload: {}, priority: 1.5 },
      { payload: {}, priority: Number.NaN },
      { payload: {}, priority: "1" },
      { payload: [] },
      { payload: "text" },
      { payload: null },
      {},
      { payload: {}, info: [] },
      // JSON cannot represent these
      { payload: cyclic },
      { payload: { big: BigInt(1) } }
    ]
    for (const fields of invalid) {
      yield* expectRefused("submit", fields, JobQueue.submit(bad({ model, ...fields })))
    }
  },

  *"bad input: an invalid reference or model is refused"() {
    for (const input of [undefined, null, {}, "my-org/video-generator", 5]) {
      yield* expectRefused("status", input, JobQueue.status(bad(input)))
      yield* expectRefused("cancel", input, JobQueue.cancel(bad(input)))
      yield* expectRefused("submit", input, JobQueue.submit(bad(input)))
    }
    for (const input of [undefined, null, {}, 5]) {
      yield* expectRefused("metrics", input, JobQueue.metrics(bad(input)))
    }
  },

  *"metrics: are counts that add up"(target) {
    yield* expectMetrics(yield* JobQueue.metrics(target.model))
    yield* submit(target)
    yield* expectMetrics(yield* JobQueue.metrics(target.model))
  },

  *"watch: polls of a job derive a legal path"(target) {
    const job = yield* submit(target)
    let known = Option.none<Transition.Cursor>()
    const seen: Array<Transition.Transition> = []
    const poll = Effect.gen(function*() {
      const status = yield* look(target, job)
      const { cursor, transitions } = yield* Transition.derive(known, status, { observedAt: yield* DateTime.now })
      for (const transition of transitions) seen.push(transition)
      // resumes from text, as another process does
      known = Either.getRight(Transition.parseCursor(Transition.formatCursor(cursor)))
      yield* expectThat("a cursor, as text", cursor, Option.isSome(known), "one that can be parsed")
      yield* target.pass("100 millis")
    })
    yield* Effect.repeatN(poll, 2)
    yield* JobQueue.cancel(job)
    yield* Effect.repeatN(poll, 2)
    yield* expectLegal(seen)
  },

  *"watch: a stream of transitions is a legal path, and ends when the job is canceled"(target) {
    const job = yield* submit(target)
    const watch = JobStream.transitions(job, { ...defaultPolicy, cadence: Cadence.fixed("200 millis") })
    const seen: Array<Transition.Transition> = []
    const mayRunForHours = (transition: Transition.Transition) =>
      seen.push(transition) > 1
        ? Effect.succeed(false)
        : Effect.map(JobQueue.cancel(job), ({ _tag }) => _tag === "NotCanceled")
    yield* inTime(target, "the watch of a canceled job", Stream.runDrain(Stream.takeUntilEffect(watch, mayRunForHours)))
    yield* expectLegal(seen)
  },

  *"interruption: an interrupted status call does not change the queue"(target) {
    const job = yield* submit(target)
    const before = yield* look(target, job)
    const delays = [
      Effect.void,
      Effect.yieldNow(),
      Effect.repeatN(Effect.yieldNow(), 5),
      target.pass("1 millis"),
      target.pass("3 millis")
    ]
    for (const delay of delays) {
      const fiber = yield* Effect.fork(JobQueue.status(job))
      yield* delay
      const exit = yield* Fiber.interrupt(fiber)
      yield* expectThat(
        "an interrupted status call",
        Exit.match(exit, { onSuccess: ({ _tag }) => _tag, onFailure: String }),
        Exit.isSuccess(exit) || Exit.isInterrupted(exit),
        "an interruption, or a response that came before"
      )
    }
    const after = yield* inTime(target, "a status call after interrupted ones", look(target, job))
    yield* expect("the job", after.job, before.job)
    yield* expect("its inputs", after.inputs, before.inputs)
  }
}

const exclusiveQueue: Checks = {
  *"clear: cancels the pending jobs, and returns their number"(target) {
    yield* JobQueue.clear(target.model)
    const jobs = yield* submits(target, 3)
    for (const job of jobs) yield* look(target, job)
    const count = yield* JobQueue.clear(target.model)
    yield* expectThat("the number of canceled jobs", count, isCount(count) && count <= 3, "a count of at most three")
    // a replica may lag: waits until no job is pending
    const states = yield* Effect.forEach(jobs, (job) => look(target, job, ({ _tag }) => _tag !== "Pending"))
    yield* expect("the jobs that are canceled", states.filter(({ _tag }) => _tag === "Canceled").length, count)
  },

  *"metrics: count the pending jobs of the model"(target) {
    yield* JobQueue.clear(target.model)
    const jobs = yield* submits(target, 2)
    for (const job of jobs) yield* look(target, job)
    const metrics = yield* JobQueue.metrics(target.model)
    yield* expectMetrics(metrics)
    const states = yield* Effect.forEach(jobs, (job) => look(target, job))
    // a job that is pending now, and was never claimed, was pending then
    const waiting = states.filter(({ _tag, retries }) => _tag === "Pending" && Option.contains(retries, 0)).length
    yield* expectThat(
      "the number of pending jobs",
      metrics.waiting,
      metrics.waiting >= waiting && metrics.waiting <= jobs.length,
      `at least ${waiting}, at most ${jobs.length}`
    )
  }
}

/** @internal */
export const queueChecks: ReadonlyArray<Spec> = [...specs("shared", sharedQueue), ...specs("exclusive", exclusiveQueue)]
