/**
 * What can be asked of any queue, also of one that others use and of whose workers nothing is known. What the service
 * leaves open is tolerated: optional fields, a replica that is behind, a worker that is faster than the check.
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
import * as Ref from "effect/Ref"
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
import { Difference, errorOf, expect, expectThat, spec, unknownId, view } from "./harness.js"
import type { Harness, Spec } from "./harness.js"
import { mistakeIn, stepsOf } from "./path.js"

type Queue = JobQueue.JobQueue

// Whoever else waits goes first.
const lowest = -1_000_000

const info = { conformance: "check", attempt: 1 }

const submit = ({ model, payload }: Harness) => JobQueue.submit({ model, payload, info, priority: lowest })

const patience = 20

/** A snapshot of a job that is there; right after its submit a replica may not know it yet. */
const look = (harness: Harness, job: Job.JobRef, tries = 1): Effect.Effect<Job.JobStatus, QueueError, Queue> =>
  Effect.catchAll(
    JobQueue.status(job),
    (error) =>
      tries < patience && (isTransient(error) || error._tag === "JobNotFound")
        ? Effect.zipRight(harness.pass("500 millis"), Effect.suspend(() => look(harness, job, tries + 1)))
        : Effect.fail(error)
  )

/** A snapshot that shows what must be so by now, as soon as one does; else the last one. */
const lookFor = (
  harness: Harness,
  job: Job.JobRef,
  isSo: (status: Job.JobStatus) => boolean,
  tries = 1
): Effect.Effect<Job.JobStatus, QueueError, Queue> =>
  Effect.flatMap(look(harness, job), (status) =>
    isSo(status) || tries === patience
      ? Effect.succeed(status)
      : Effect.zipRight(harness.pass("500 millis"), Effect.suspend(() => lookFor(harness, job, isSo, tries + 1))))

// Clocks differ, by no more than this.
const maxSkew = 15 * 60_000

const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && Number(value) >= 0

const expectMetrics = (metrics: JobQueue.QueueMetrics): Effect.Effect<void, Difference> =>
  expectThat(
    "the metrics",
    metrics,
    isCount(metrics.running) && isCount(metrics.waiting) && metrics.total === metrics.running + metrics.waiting,
    "three counts, the total being the sum of the others"
  )

// as a program in JavaScript might
const bad = (value: unknown): never => value as never

/**
 * The call is refused, and by us: no answer of the service is in the error.
 *
 * @internal
 */
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
  Effect.forEach(["status", "cancel"] as const, (operation) =>
    Effect.gen(function*() {
      const call: Effect.Effect<unknown, QueueError, Queue> = operation === "status"
        ? JobQueue.status(job)
        : JobQueue.cancel(job)
      const error = yield* errorOf(`${operation} of ${what}`, call)
      // the service says more, in words of its own
      const { code: _code, detail: _detail, httpRequestId: _id, param: _param, type: _type, ...rest } = error
      yield* expect(`${operation} of ${what}`, rest, {
        _tag: "JobNotFound",
        operation,
        model: job.model,
        job: { model: job.model, requestId: job.requestId },
        httpStatus: 404
      })
    }), { discard: true })

const expectLegal = (transitions: ReadonlyArray<Transition.Transition>) =>
  Effect.suspend(() => {
    const mistake = mistakeIn(transitions)
    return mistake === undefined
      ? Effect.void
      : Effect.fail(
        new Difference({
          what: "the life of a job",
          expected: `a legal path: ${mistake}`,
          actual: stepsOf(transitions).join("\n")
        })
      )
  })

/** @internal */
export const shared: ReadonlyArray<Spec> = [
  spec(
    "shared",
    "submit: gives a reference by which the job is known as it was submitted",
    (harness) =>
      Effect.gen(function*() {
        const before = yield* Clock.currentTimeMillis
        const job = yield* submit(harness)
        const after = yield* Clock.currentTimeMillis
        yield* expect("the model of the reference", job.model, harness.model)
        yield* expectThat("the request id", job.requestId, /\S/.test(job.requestId), "not blank")
        const status = yield* look(harness, job)
        yield* expect("the job of its status", status.job, job)
        const seen = view(status)
        // what is not told is not wrong
        if (Object.keys(seen.inputs).length > 0) yield* expect("the inputs", seen.inputs, harness.payload)
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
        const again = view(yield* look(harness, job))
        yield* expect("what never changes", [again.createdAt, again.inputs, again.priority], [
          seen.createdAt,
          seen.inputs,
          seen.priority
        ])
      })
  ),

  spec("shared", "submit: gives every job a reference of its own", (harness) =>
    Effect.gen(function*() {
      const jobs = yield* Effect.all([submit(harness), submit(harness), submit(harness)], { concurrency: "unbounded" })
      const ids = jobs.map(({ requestId }) => requestId)
      yield* expect("the different ids among three", new Set(ids).size, ids.length)
      for (const job of jobs) yield* expect("the job of its status", (yield* look(harness, job)).job, job)
    })),

  spec(
    "shared",
    "cancel: cancels a job or says what it is instead, and its status agrees",
    (harness) =>
      Effect.gen(function*() {
        const job = yield* submit(harness)
        yield* look(harness, job)
        const result = yield* JobQueue.cancel(job)
        if (result._tag === "Canceled") {
          const status = yield* lookFor(harness, job, (status) => status._tag === "Canceled")
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
        // what may be seen, from then on, of a job that was in this state; a worker may lose it, and another find it
        const later: { readonly [state: string]: ReadonlyArray<string> } = {
          running: ["Pending", "Running", "Done", "Failed"],
          done: ["Done"],
          failed: ["Failed"]
        }
        const possible = later[state] ?? []
        yield* expectThat("why a job was not canceled", state, possible.length > 0, "running, done or failed")
        const status = yield* lookFor(harness, job, ({ _tag }) => possible.includes(_tag))
        yield* expectThat(
          `the state of a job that was ${state}`,
          status._tag,
          possible.includes(status._tag),
          possible.join(" or ")
        )
      })
  ),

  spec(
    "shared",
    "not found: an id that nobody has",
    (harness) => expectNotFound("an id that nobody has", Job.ref(harness.model, unknownId))
  ),

  spec("shared", "not found: a job of another model", (harness) =>
    Effect.gen(function*() {
      const job = yield* submit(harness)
      yield* look(harness, job)
      yield* expectNotFound("a job of another model", Job.ref(`${harness.model}-of-another-name`, job.requestId))
      yield* expect("the job that is there", (yield* look(harness, job)).job, job)
    })),

  // never a clear: whoever does not refuse it might clear what is not ours
  spec("shared", "bad input: a blank model or id is refused", ({ model }) =>
    Effect.gen(function*() {
      for (const blank of ["", " ", "\t\n"]) {
        const job = Job.ref(blank, unknownId)
        yield* expectRefused("submit", blank, JobQueue.submit({ model: blank, payload: {} }))
        yield* expectRefused("status", blank, JobQueue.status(job))
        yield* expectRefused("cancel", blank, JobQueue.cancel(job))
        yield* expectRefused("metrics", blank, JobQueue.metrics(blank))
      }
      yield* expectRefused("status", " ", JobQueue.status(Job.ref(model, " ")))
      yield* expectRefused("cancel", " ", JobQueue.cancel(Job.ref(model, " ")))
    })),

  spec("shared", "bad input: a job to be is refused, whatever is wrong with it", ({ model }) =>
    Effect.gen(function*() {
      const cyclic: { self?: unknown } = {}
      cyclic.self = cyclic
      const wrong: ReadonlyArray<object> = [
        { payload: {}, priority: 1.5 },
        { payload: {}, priority: Number.NaN },
        { payload: {}, priority: "1" },
        { payload: [] },
        { payload: "text" },
        { payload: null },
        {},
        { payload: {}, info: [] },
        // what JSON can't say
        { payload: cyclic },
        { payload: { big: BigInt(1) } }
      ]
      for (const fields of wrong) {
        yield* expectRefused("submit", fields, JobQueue.submit(bad({ model, ...fields })))
      }
    })),

  spec("shared", "bad input: what is no reference, or no model at all, is refused", () =>
    Effect.gen(function*() {
      for (const input of [undefined, null, {}, "my-org/video-generator", 5]) {
        yield* expectRefused("status", input, JobQueue.status(bad(input)))
        yield* expectRefused("cancel", input, JobQueue.cancel(bad(input)))
        yield* expectRefused("submit", input, JobQueue.submit(bad(input)))
      }
      for (const input of [undefined, null, {}, 5]) {
        yield* expectRefused("metrics", input, JobQueue.metrics(bad(input)))
      }
    })),

  spec("shared", "metrics: are counts that add up", (harness) =>
    Effect.gen(function*() {
      yield* expectMetrics(yield* JobQueue.metrics(harness.model))
      yield* submit(harness)
      yield* expectMetrics(yield* JobQueue.metrics(harness.model))
    })),

  spec("shared", "watch: whatever polls see of a job is a legal life", (harness) =>
    Effect.gen(function*() {
      const job = yield* submit(harness)
      let known = Option.none<Transition.Cursor>()
      const life: Array<Transition.Transition> = []
      const poll = Effect.gen(function*() {
        const status = yield* look(harness, job)
        const observedAt = yield* DateTime.now
        const { cursor, transitions } = yield* Transition.derive(known, status, { observedAt })
        for (const transition of transitions) life.push(transition)
        // as another process would go on
        known = Either.getRight(Transition.parseCursor(Transition.formatCursor(cursor)))
        yield* expectThat("a cursor, as text", cursor, Option.isSome(known), "one that can be read again")
        yield* harness.pass("100 millis")
      })
      yield* Effect.repeatN(poll, 2)
      yield* JobQueue.cancel(job)
      yield* Effect.repeatN(poll, 2)
      yield* expectLegal(life)
    })),

  spec(
    "shared",
    "watch: a stream of transitions goes the same way, and ends where a cancel ends the job",
    (harness) =>
      Effect.gen(function*() {
        const job = yield* submit(harness)
        const life = yield* Ref.make<ReadonlyArray<Transition.Transition>>([])
        const policy = { ...defaultPolicy, cadence: Cadence.fixed("200 millis") }
        const watch = JobStream.transitions(job, policy).pipe(
          Stream.runForEach((transition) => Ref.update(life, (before) => [...before, transition]))
        )
        const ended = yield* Effect.scoped(Effect.gen(function*() {
          const fiber = yield* Effect.forkScoped(watch)
          for (let waited = 0; waited < patience * 10; waited++) {
            if ((yield* Ref.get(life)).length > 0 || Option.isSome(yield* Fiber.poll(fiber))) break
            yield* harness.pass("50 millis")
          }
          const result = yield* JobQueue.cancel(job)
          // a canceled job ends the watch; any other may run for hours
          const most = result._tag === "Canceled" ? patience * 10 : patience
          for (let waited = 0; waited < most; waited++) {
            const exit = yield* Fiber.poll(fiber)
            if (Option.isSome(exit)) return yield* Effect.as(exit.value, true)
            yield* harness.pass("50 millis")
          }
          return result._tag === "NotCanceled"
        }))
        const transitions = yield* Ref.get(life)
        yield* expectThat("the watch of a canceled job", stepsOf(transitions), ended, "an end")
        yield* expectLegal(transitions)
      })
  ),

  spec(
    "shared",
    "interruption: a status call that is given up leaves the queue as it is",
    (harness) =>
      Effect.gen(function*() {
        const job = yield* submit(harness)
        const before = yield* look(harness, job)
        const givenUpAfter = [
          Effect.void,
          Effect.yieldNow(),
          Effect.repeatN(Effect.yieldNow(), 5),
          harness.pass("1 millis"),
          harness.pass("3 millis")
        ]
        for (const while_ of givenUpAfter) {
          const exit = yield* Effect.scoped(Effect.gen(function*() {
            const fiber = yield* Effect.forkScoped(JobQueue.status(job))
            yield* while_
            return yield* Fiber.interrupt(fiber)
          }))
          yield* expectThat(
            "a status call that is given up",
            Exit.match(exit, { onSuccess: ({ _tag }) => _tag, onFailure: String }),
            Exit.isSuccess(exit) || Exit.isInterrupted(exit),
            "nothing, or the answer that had come already"
          )
        }
        const after = yield* harness.inTime("a status call after some that were given up", look(harness, job))
        yield* expect("the job", after.job, before.job)
        yield* expect("its inputs", after.inputs, before.inputs)
      })
  ),

  // ---------------------------------------------------------------------------
  // nobody else uses the queue: it may be cleared, and what is in it may be counted
  // ---------------------------------------------------------------------------

  spec("exclusive", "clear: cancels what waits, and tells how many", (harness) =>
    Effect.gen(function*() {
      yield* JobQueue.clear(harness.model)
      const jobs = yield* Effect.all([submit(harness), submit(harness), submit(harness)])
      for (const job of jobs) yield* look(harness, job)
      const count = yield* JobQueue.clear(harness.model)
      yield* expectThat("how many were canceled", count, isCount(count) && count <= 3, "a count of at most three")
      // a replica may be behind: the jobs settle, then they are counted
      const states = yield* Effect.forEach(jobs, (job) => lookFor(harness, job, ({ _tag }) => _tag !== "Pending"))
      yield* expect("the jobs that are canceled", states.filter(({ _tag }) => _tag === "Canceled").length, count)
    })),

  spec("exclusive", "metrics: count who waits, and nobody else", (harness) =>
    Effect.gen(function*() {
      yield* JobQueue.clear(harness.model)
      const jobs = yield* Effect.all([submit(harness), submit(harness)])
      for (const job of jobs) yield* look(harness, job)
      const metrics = yield* JobQueue.metrics(harness.model)
      yield* expectMetrics(metrics)
      const states = yield* Effect.forEach(jobs, (job) => look(harness, job))
      // those that wait now, and were never away, have waited then
      const waiting = states.filter(({ _tag, retries }) => _tag === "Pending" && Option.contains(retries, 0)).length
      yield* expectThat(
        "how many wait",
        metrics.waiting,
        metrics.waiting >= waiting && metrics.waiting <= jobs.length,
        `at least ${waiting}, at most ${jobs.length}`
      )
    }))
]
