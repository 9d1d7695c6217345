/** The behaviour of each call on a new queue with scripted workers, as implemented by all stand-ins for the service. */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Fiber from "effect/Fiber"
import * as Job from "../../../src/model/Job.js"
import type { QueueError } from "../../../src/model/QueueError.js"
import * as JobQueue from "../../../src/queue/JobQueue.js"
import { inline } from "../../../src/testing/internal/diff.js"
import * as Worker from "../../../src/testing/Worker.js"
import { bad, canceled, errorOf, expect, expectThat, notCanceled, pool, spec, unknownId, view } from "./harness.js"
import type { Spec } from "./harness.js"

/** Workers whose script depends on the payload of the job. */
export const workersByPayload: Worker.Script = ({ payload }) => {
  switch (payload["do"]) {
    case "finish":
      return [Worker.finish("5 millis", { answer: 42 })]
    case "fail":
      return [Worker.fail("5 millis", "CUDA out of memory")]
    default:
      // longer than any check
      return [Worker.finish("1 hour")]
  }
}

const uuidv7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

const isRunning = ({ _tag }: Job.JobStatus): boolean => _tag === "Running"

const namesOfModels = [
  "a model with spaces",
  " blanks around it ",
  "größe/模型 🦊",
  "?a=1&b=%2F+#;\"'\\",
  "two\nlines",
  "../../v1/queue/clear",
  "__proto__",
  "constructor"
]

// in an object literal it would set the prototype
const proto = () => Object.fromEntries([["__proto__", { polluted: true }], ["user", "u"]])

const anotherModel = "another model"

export const calls: ReadonlyArray<Spec> = [
  // ---------------------------------------------------------------------------
  // submit
  // ---------------------------------------------------------------------------

  spec(
    "submit: gives a reference with a UUIDv7 that begins with the time of the submission",
    ({ model }) =>
      Effect.gen(function*() {
        const job = yield* JobQueue.submit({ model, payload: {} })
        yield* expectThat("the request id", job.requestId, uuidv7.test(job.requestId), "a UUIDv7")
        yield* expectThat(
          "the reference",
          job,
          Equal.equals(job, Job.ref(model, job.requestId)),
          "one that compares by value, of the model that was asked for"
        )
        const { createdAt } = view(yield* JobQueue.status(job))
        yield* expect(
          "the time of creation",
          createdAt,
          Number.parseInt(job.requestId.replace("-", "").slice(0, 12), 16)
        )
      })
  ),

  spec("submit: counts every one of many at once", ({ model }) =>
    Effect.gen(function*() {
      const jobs = yield* Effect.all(
        Array.from({ length: 20 }, () => JobQueue.submit({ model, payload: {} })),
        { concurrency: "unbounded" }
      )
      yield* expect("how many ids there are", new Set(jobs.map((job) => job.requestId)).size, 20)
      yield* expect("the metrics", yield* JobQueue.metrics(model), { running: 0, waiting: 20, total: 20 })
    })),

  spec(
    "submit: keeps what was submitted, and begins with nothing else",
    ({ model }) =>
      Effect.gen(function*() {
        const payload = { prompt: "a cat at the piano", frames: [1, 2.5, null, { deep: true }], text: "größe 🦊\n" }
        const job = yield* JobQueue.submit({ model, payload, info: { user_id: "user_123" } })
        const status = view(yield* JobQueue.status(job))
        yield* expectThat("the time of creation", status.createdAt, status.createdAt !== null, "a time")
        yield* expect("the status of a job that was just submitted", status, {
          tag: "Pending",
          model,
          requestId: job.requestId,
          createdAt: status.createdAt,
          claimedAt: null,
          doneAt: null,
          info: { user_id: "user_123" },
          inputs: payload,
          outputs: {},
          priority: 0,
          retries: 0,
          warnings: []
        })
      })
  ),

  spec(
    "submit: keeps the priority, and has no info unless some is given",
    ({ model }) =>
      Effect.gen(function*() {
        for (const priority of [7, -3, 0, Number.MAX_SAFE_INTEGER]) {
          const job = yield* JobQueue.submit({ model, payload: {}, priority })
          const seen = view(yield* JobQueue.status(job))
          yield* expect("priority and info", [seen.priority, seen.info], [priority, {}])
        }
      })
  ),

  spec("submit: takes the payload as it is at that moment", ({ model }) =>
    Effect.gen(function*() {
      const payload = { scenes: ["rain"] }
      const info = { tags: ["first"] }
      const job = yield* JobQueue.submit({ model, payload, info })
      payload.scenes.push("snow")
      info.tags.push("second")
      const { info: keptInfo, inputs } = view(yield* JobQueue.status(job))
      yield* expect("inputs and info, after the submitter has changed its own", [inputs, keptInfo], [
        { scenes: ["rain"] },
        { tags: ["first"] }
      ])
    })),

  spec("submit: sends a payload as JSON represents it", ({ model }) =>
    Effect.gen(function*() {
      const payload = {
        at: DateTime.toDate(DateTime.unsafeMake(0)),
        none: undefined,
        list: [null]
      }
      const job = yield* JobQueue.submit({ model, payload })
      yield* expect("the inputs", view(yield* JobQueue.status(job)).inputs, {
        at: "1970-01-01T00:00:00.000Z",
        list: [null]
      })
    })),

  spec(
    "submit: keeps the key __proto__ as a key, also when a worker adds to the info",
    ({ model, until }) =>
      Effect.gen(function*() {
        const job = yield* JobQueue.submit({ model, payload: proto(), info: proto() })
        const status = yield* until(job, "at work", ({ info }) => Object.hasOwn(info, "progress"))
        yield* expect("the inputs", status.inputs, proto())
        yield* expect("the info", Object.entries(status.info).sort(), [
          ["__proto__", { polluted: true }],
          ["progress", 0.5],
          ["user", "u"]
        ])
        yield* expect("any other object", "polluted" in {}, false)
      }),
    pool(Worker.always(Worker.progress("5 millis", 0.5), Worker.finish("1 hour")))
  ),

  spec("models: any name that is not blank is good for every call", (harness) =>
    Effect.gen(function*() {
      for (const model of [harness.model, ...namesOfModels]) {
        const job = yield* JobQueue.submit({ model, payload: { model } })
        const status = view(yield* JobQueue.status(job))
        yield* expect("model and inputs", [status.model, status.inputs], [model, { model }])
        yield* expect(`metrics of ${inline(model)}`, yield* JobQueue.metrics(model), {
          running: 0,
          waiting: 1,
          total: 1
        })
        yield* expect(`cancel of a job of ${inline(model)}`, yield* JobQueue.cancel(job), canceled)
        yield* JobQueue.submit({ model, payload: {} })
        yield* expect(`clear of ${inline(model)}`, yield* JobQueue.clear(model), 1)
      }
    })),

  // ---------------------------------------------------------------------------
  // cancel
  // ---------------------------------------------------------------------------

  spec("cancel: ends a job that is pending, once", ({ model }) =>
    Effect.gen(function*() {
      const job = yield* JobQueue.submit({ model, payload: { prompt: "a cat" }, info: { note: "mine" }, priority: 2 })
      const before = view(yield* JobQueue.status(job))
      yield* expect("cancel of a pending job", yield* JobQueue.cancel(job), canceled)
      yield* expect("its status", view(yield* JobQueue.status(job)), { ...before, tag: "Canceled" })
      yield* expect("cancel of a canceled job", yield* JobQueue.cancel(job), notCanceled("canceled"))
      yield* expect("the metrics", yield* JobQueue.metrics(model), { running: 0, waiting: 0, total: 0 })
    })),

  spec(
    "cancel: leaves a job alone that runs",
    ({ model, until }) =>
      Effect.gen(function*() {
        const job = yield* JobQueue.submit({ model, payload: {} })
        const before = view(yield* until(job, "running", isRunning))
        yield* expect("cancel of a running job", yield* JobQueue.cancel(job), notCanceled("running"))
        yield* expect("its status", view(yield* JobQueue.status(job)), before)
      }),
    pool(workersByPayload)
  ),

  spec(
    "cancel: does not change a job that has ended",
    ({ model, untilOver }) =>
      Effect.gen(function*() {
        for (const [what, status] of [["finish", "done"], ["fail", "failed"]] as const) {
          const job = yield* JobQueue.submit({ model, payload: { do: what } })
          const before = view(yield* untilOver(job))
          yield* expect(`cancel of a job that is ${status}`, yield* JobQueue.cancel(job), notCanceled(status))
          yield* expect("its status", view(yield* JobQueue.status(job)), before)
        }
      }),
    pool(workersByPayload)
  ),

  spec(
    "cancel: removes a job from the queue",
    ({ model, until, untilOver }) =>
      Effect.gen(function*() {
        const first = yield* JobQueue.submit({ model, payload: { do: "hold" } })
        const second = yield* JobQueue.submit({ model, payload: { do: "finish" } })
        yield* until(first, "running", isRunning)
        yield* expect("cancel of the second in line", yield* JobQueue.cancel(second), canceled)
        const third = yield* JobQueue.submit({ model: anotherModel, payload: { do: "finish" } })
        yield* expect("a job of another model", (yield* untilOver(third))._tag, "Done")
        yield* expect("the canceled job", (yield* JobQueue.status(second))._tag, "Canceled")
      }),
    pool(workersByPayload)
  ),

  // ---------------------------------------------------------------------------
  // clear and metrics
  // ---------------------------------------------------------------------------

  spec(
    "clear: leaves alone what runs and what is another model's",
    ({ model, until }) =>
      Effect.gen(function*() {
        const running = yield* JobQueue.submit({ model, payload: {} })
        yield* until(running, "running", isRunning)
        const waiting = [
          yield* JobQueue.submit({ model, payload: {} }),
          yield* JobQueue.submit({ model, payload: {}, priority: 5 })
        ]
        const gone = yield* JobQueue.submit({ model, payload: {} })
        yield* JobQueue.submit({ model: anotherModel, payload: {} })
        const stranger = yield* JobQueue.submit({ model: anotherModel, payload: {} })
        yield* expect("cancel of a pending job", yield* JobQueue.cancel(gone), canceled)
        yield* expect("the metrics before", yield* JobQueue.metrics(model), { running: 1, waiting: 2, total: 3 })

        yield* expect("how many were canceled", yield* JobQueue.clear(model), 2)

        const jobs = [running, ...waiting, gone, stranger]
        const states = yield* Effect.forEach(jobs, (job) => Effect.map(JobQueue.status(job), ({ _tag }) => _tag))
        yield* expect("the one that runs, three that do not, and one of another model", states, [
          "Running",
          "Canceled",
          "Canceled",
          "Canceled",
          "Pending"
        ])
        yield* expect("the metrics after", yield* JobQueue.metrics(model), { running: 1, waiting: 0, total: 1 })
        yield* expect("those of another model", yield* JobQueue.metrics(anotherModel), {
          running: 1,
          waiting: 1,
          total: 2
        })
        yield* expect("clear, once more", yield* JobQueue.clear(model), 0)
        yield* expect("clear of a model never seen", yield* JobQueue.clear("a model never seen"), 0)
      }),
    pool(workersByPayload)
  ),

  spec("metrics: are zeros for a model never seen", ({ model }) =>
    Effect.gen(function*() {
      yield* JobQueue.submit({ model, payload: {} })
      yield* expect("the metrics", yield* JobQueue.metrics("a model never seen"), { running: 0, waiting: 0, total: 0 })
    })),

  spec(
    "metrics: count pending and running jobs, not ended ones",
    ({ model, until, untilOver }) =>
      Effect.gen(function*() {
        const over = yield* JobQueue.submit({ model, payload: { do: "finish" } })
        yield* untilOver(over)
        const running = yield* JobQueue.submit({ model, payload: {} })
        yield* until(running, "running", isRunning)
        yield* JobQueue.submit({ model, payload: {} })
        yield* JobQueue.submit({ model, payload: {} })
        yield* expect("the metrics", yield* JobQueue.metrics(model), { running: 1, waiting: 2, total: 3 })
      }),
    pool(workersByPayload)
  ),

  // ---------------------------------------------------------------------------
  // rejected calls, with the exact errors
  // ---------------------------------------------------------------------------

  spec(
    "refusals: a job that is not there is not found, in every field of the error",
    ({ model }) =>
      Effect.gen(function*() {
        const job = yield* JobQueue.submit({ model, payload: {} })
        const strangers = [
          Job.ref(model, unknownId),
          Job.ref("another-org/video-generator", job.requestId),
          Job.ref(model, "__proto__"),
          Job.ref(model, "no UUID & nothing like it")
        ]
        for (const stranger of strangers) {
          const notFound = (operation: string) => ({
            _tag: "JobNotFound",
            operation,
            model: stranger.model,
            job: { model: stranger.model, requestId: stranger.requestId },
            httpStatus: 404,
            code: "job_not_found",
            type: "not_found_error",
            detail: `no job ${stranger.requestId} of model ${stranger.model}`
          })
          yield* expect(
            "the error of status",
            yield* errorOf("status of a job that is not there", JobQueue.status(stranger)),
            notFound("status")
          )
          yield* expect(
            "the error of cancel",
            yield* errorOf("cancel of a job that is not there", JobQueue.cancel(stranger)),
            notFound("cancel")
          )
        }
        yield* expect("the job that is there", (yield* JobQueue.status(job))._tag, "Pending")
      })
  ),

  spec(
    "refusals: a blank model or id is rejected, in every field of the error",
    ({ model }) =>
      Effect.gen(function*() {
        const refused = (
          operation: string,
          model: string,
          call: Effect.Effect<unknown, QueueError, JobQueue.JobQueue>
        ) =>
          Effect.gen(function*() {
            yield* expect(`the error of ${operation}`, yield* errorOf(`${operation} of a blank`, call), {
              _tag: "InvalidRequest",
              operation,
              model,
              detail: /\S/.test(model)
                ? "requestId: a request id must not be blank"
                : "model: a model name must not be blank"
            })
          })
        for (const blank of ["", " ", "\t\n"]) {
          const job = Job.ref(blank, unknownId)
          yield* refused("submit", blank, JobQueue.submit({ model: blank, payload: {} }))
          yield* refused("status", blank, JobQueue.status(job))
          yield* refused("cancel", blank, JobQueue.cancel(job))
          yield* refused("clear", blank, JobQueue.clear(blank))
          yield* refused("metrics", blank, JobQueue.metrics(blank))
        }
        yield* refused("status", model, JobQueue.status(Job.ref(model, " ")))
        yield* refused("cancel", model, JobQueue.cancel(Job.ref(model, " ")))
      })
  ),

  spec(
    "refusals: an invalid submit fails with a message that names the problem, and adds no job",
    ({ model }) =>
      Effect.gen(function*() {
        const cyclic: { self?: unknown } = {}
        cyclic.self = cyclic
        // the beginning of the message; the rest comes from another library
        const wrong: ReadonlyArray<readonly [object, string]> = [
          [{ payload: {}, priority: 1.5 }, "priority: Expected an integer, actual 1.5"],
          [{ payload: {}, priority: Number.NaN }, "priority: Expected an integer, actual NaN"],
          [{ payload: {}, priority: "1" }, "priority: Expected number, actual \"1\""],
          [{ payload: [] }, "payload: Expected JsonObject, actual []"],
          [{ payload: "text" }, "payload: Expected JsonObject, actual \"text\""],
          [{ payload: null }, "payload: Expected JsonObject, actual null"],
          [{}, "payload: is missing"],
          [{ payload: {}, info: [] }, "info: Expected JsonObject, actual []"],
          [{ payload: cyclic }, "payload.self: a cycle cannot be represented in JSON"],
          [{ payload: { big: BigInt(1) } }, "payload.big: a bigint cannot be represented in JSON"],
          [
            { payload: { frames: [0, new Map()] } },
            "payload.frames[1]: an instance of Map cannot be represented in JSON"
          ],
          [{ payload: {}, info: { ratio: NaN } }, "info.ratio: NaN cannot be represented in JSON"]
        ]
        for (const [fields, words] of wrong) {
          const what = `submit of ${inline(fields)}`
          const { detail, ...error } = yield* errorOf(what, JobQueue.submit(bad({ model, ...fields })))
          yield* expect(`the error of ${what}`, { ...error, detail: String(detail).slice(0, words.length) }, {
            _tag: "InvalidRequest",
            operation: "submit",
            model,
            detail: words
          })
        }
        yield* expect("the metrics", yield* JobQueue.metrics(model), { running: 0, waiting: 0, total: 0 })
      })
  ),

  spec(
    "refusals: a clear without a model is rejected, and clears nothing",
    ({ model }) =>
      Effect.gen(function*() {
        const job = yield* JobQueue.submit({ model, payload: {} })
        for (const input of [undefined, null, {}, 5]) {
          const { _tag, operation } = yield* errorOf(`clear of ${inline(input)}`, JobQueue.clear(bad(input)))
          yield* expect(`the error of clear of ${inline(input)}`, [_tag, operation], ["InvalidRequest", "clear"])
        }
        yield* expect("the job that is there", (yield* JobQueue.status(job))._tag, "Pending")
      })
  ),

  // ---------------------------------------------------------------------------
  // interruption
  // ---------------------------------------------------------------------------

  spec(
    "interruption: interrupted calls leave the queue consistent",
    ({ inTime, model, pass }) =>
      Effect.gen(function*() {
        const job = yield* JobQueue.submit({ model, payload: { kept: true } })
        const before = view(yield* JobQueue.status(job))
        const givenUp = <A, E>(call: Effect.Effect<A, E, JobQueue.JobQueue>, after: Effect.Effect<void>) =>
          Effect.scoped(Effect.gen(function*() {
            const fiber = yield* Effect.forkScoped(call)
            yield* after
            yield* Fiber.interrupt(fiber)
          }))
        const moments = [Effect.void, Effect.yieldNow(), pass("1 millis")]
        for (const moment of moments) {
          yield* givenUp(JobQueue.submit({ model, payload: {} }), moment)
          yield* givenUp(JobQueue.status(job), moment)
          yield* givenUp(JobQueue.metrics(model), moment)
          yield* givenUp(JobQueue.cancel(Job.ref(model, unknownId)), moment)
          yield* givenUp(JobQueue.clear("a model never seen"), moment)
        }
        // an interrupted submit may or may not have arrived
        const { running, total, waiting } = yield* inTime(
          "metrics, after calls that were given up",
          JobQueue.metrics(model)
        )
        yield* expectThat(
          "how many jobs there are",
          { running, waiting, total },
          running === 0 && waiting === total && total >= 1 && total <= 1 + moments.length,
          `1 job and up to ${moments.length} that were given up, all of them waiting`
        )
        yield* expect("the job from before", view(yield* JobQueue.status(job)), before)
        yield* expect("clear", yield* inTime("clear", JobQueue.clear(model)), total)
      })
  )
]
