import { assert, describe, it } from "@effect/vitest"
import { deepStrictEqual } from "@effect/vitest/utils"
import { Job, JobStage, QueueError, Transition } from "effect-queue-status"
import * as Arbitrary from "effect/Arbitrary"
import * as Cause from "effect/Cause"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import * as FastCheck from "effect/FastCheck"
import type * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { format, inspect } from "node:util"
import { runs } from "../fixtures/runs.js"

const job = Job.ref("my-org/video-generator", "019ba379-92da-71e4-ac40-d98059fd67c7")
const snapshot = Job.Failed({ job, info: { error: "out of memory", list: [1, null] }, outputs: { partial: true } })

const about = { operation: "status", model: job.model, job } as const
const said = {
  code: "some_code",
  type: "some_type",
  param: "model",
  detail: "because",
  httpRequestId: "req-1",
  retryAfter: Duration.millis(1_500)
}

// one error of each class, with every field
const queueErrors = {
  InvalidRequest: new QueueError.InvalidRequest({ ...about, httpStatus: 400, ...said }),
  AccessDenied: new QueueError.AccessDenied({ ...about, httpStatus: 401, ...said }),
  JobNotFound: new QueueError.JobNotFound({ ...about, httpStatus: 404, ...said }),
  RateLimited: new QueueError.RateLimited({ ...about, httpStatus: 429, ...said }),
  Unavailable: new QueueError.Unavailable({ ...about, httpStatus: 503, ...said }),
  Unreachable: new QueueError.Unreachable({ ...about, reason: "connect ECONNREFUSED 127.0.0.1:1", sent: false }),
  ResponseTimeout: new QueueError.ResponseTimeout({ ...about, after: Duration.seconds(30) }),
  ResponseTooLarge: new QueueError.ResponseTooLarge({ ...about, httpStatus: 200, maxBytes: 67_108_864 }),
  UnexpectedResponse: new QueueError.UnexpectedResponse({
    ...about,
    httpStatus: 200,
    ...said,
    issue: "status: is missing",
    body: "{}"
  })
} satisfies { readonly [tag in QueueError.QueueError["_tag"]]: Extract<QueueError.QueueError, { readonly _tag: tag }> }

const lastSeen = {
  status: Job.Running({ job, info: { progress: 0.4 } }),
  age: Duration.millis(1_500),
  attempt: 1
}

const expired = { job, after: Duration.minutes(10), lastSeen }

const otherErrors = {
  SubmitUncertain: new QueueError.SubmitUncertain({
    model: job.model,
    key: "order-17",
    at: DateTime.unsafeMake("2026-02-07T10:30:00Z"),
    error: new QueueError.ResponseTimeout({ operation: "submit", model: job.model, after: Duration.seconds(30) })
  }),
  UnrecognizedStatus: new QueueError.UnrecognizedStatus({
    job,
    status: "paused",
    snapshot: Job.Unrecognized({ job, status: "paused" })
  }),
  JobMismatch: new QueueError.JobMismatch({ job, expected: Job.ref("my-org/other", "b") }),
  PendingTooLong: new QueueError.PendingTooLong({
    ...expired,
    lastSeen: { ...lastSeen, status: Job.Pending({ job }), attempt: 0 },
    cancel: { _tag: "Canceled" }
  }),
  Stalled: new QueueError.Stalled({ ...expired, lastError: queueErrors.Unavailable }),
  WatchTimeout: new QueueError.WatchTimeout({ job, after: Duration.hours(24) }),
  InvalidCursor: new QueueError.InvalidCursor({ text: "eqs0.\"x", issue: "unknown version" }),
  JobFailed: new QueueError.JobFailed({ job, reason: "out of memory", snapshot }),
  JobRetriesExhausted: new QueueError.JobRetriesExhausted({ job, attempts: 4, snapshot }),
  JobCanceled: new QueueError.JobCanceled({ job, snapshot: Job.Canceled({ job }) }),
  InvalidOutputs: new QueueError.InvalidOutputs({
    job,
    issue: "video_url: is missing",
    snapshot: Job.Done({ job, outputs: { url: "x" } })
  })
} satisfies
  & {
    readonly [tag in Exclude<(QueueError.WatchError | QueueError.OutcomeError)["_tag"], QueueError.QueueError["_tag"]>]:
      Extract<QueueError.WatchError | QueueError.OutcomeError, { readonly _tag: tag }>
  }
  & { readonly InvalidCursor: QueueError.InvalidCursor; readonly SubmitUncertain: QueueError.SubmitUncertain }

const journal = new QueueError.JournalError({ key: "order-17", operation: "set", reason: "the disk is full" })

const otherClasses = Schema.Union(
  QueueError.SubmitUncertain,
  QueueError.UnrecognizedStatus,
  QueueError.JobMismatch,
  QueueError.PendingTooLong,
  QueueError.Stalled,
  QueueError.WatchTimeout,
  QueueError.InvalidCursor,
  QueueError.JobFailed,
  QueueError.JobRetriesExhausted,
  QueueError.JobCanceled,
  QueueError.InvalidOutputs
)

const throughJson = <A, I>(schema: Schema.Schema<A, I>, value: A): A =>
  Schema.decodeUnknownSync(schema)(JSON.parse(JSON.stringify(Schema.encodeSync(schema)(value))))

describe("the schemas", () => {
  const tidy = (value: unknown) =>
    // a client creates only finite durations of whole milliseconds
    Duration.isDuration(value) ? Duration.millis(Math.min(Math.round(Duration.toMillis(value)), 1e12)) : value
  const anyQueueError = Arbitrary.make(QueueError.QueueError).map((error) => {
    const fields = Object.entries(error)
      .filter(([key, value]) => key !== "_tag" && value !== undefined)
      .map(([key, value]) => [key, tidy(value)])
    const Class = error.constructor as new(fields: unknown) => QueueError.QueueError // the class of the error
    return new Class(Object.fromEntries(fields))
  })

  it("round-trip any error of a call through JSON", () => {
    const seen = new Set<string>()
    FastCheck.assert(
      FastCheck.property(anyQueueError, (error) => {
        seen.add(error._tag)
        const back = throughJson(QueueError.QueueError, error)
        assert.strictEqual(Object.getPrototypeOf(back), Object.getPrototypeOf(error))
        const encode = Schema.encodeSync(QueueError.QueueError)
        assert.strictEqual(JSON.stringify(encode(back)), JSON.stringify(encode(error)))
        // a snapshot holds JSON objects, which do not compare by value
        assert(error.lastSeen !== undefined || Equal.equals(back, error), inspect([error, back]))
        assert.strictEqual(back.message, error.message)
      }),
      { numRuns: runs(100, 200) }
    )
    assert.sameMembers(Array.from(seen), Object.keys(queueErrors))
  })

  it("round-trip any error of a watch or an outcome through JSON", () => {
    const seen = new Set<string>()
    const encode = Schema.encodeSync(otherClasses)
    FastCheck.assert(
      FastCheck.property(Arbitrary.make(otherClasses), (error) => {
        seen.add(error._tag)
        const wire = JSON.stringify(encode(error))
        const back = throughJson(otherClasses, error)
        assert.strictEqual(Object.getPrototypeOf(back), Object.getPrototypeOf(error))
        assert.strictEqual(JSON.stringify(encode(back)), wire)
        assert.strictEqual(back.message, error.message)
      }),
      { numRuns: runs(60, 120) }
    )
    assert.sameMembers(Array.from(seen), Object.keys(otherErrors))
  })

  for (const error of Object.values(queueErrors)) {
    it(`round-trip ${error._tag} that has ended a watch`, () => {
      const Class = error.constructor as new(fields: unknown) => QueueError.QueueError // the class of the error
      const last = new Class({ ...error, lastSeen, trouble: "the trouble before it" })
      const back = throughJson(QueueError.QueueError, last)
      assert.strictEqual<unknown>(back.constructor, QueueError[error._tag])
      assert.deepStrictEqual({ ...back }, { ...last })
      assert.strictEqual(back.message, last.message)
      assert.match(back.message, /[(,] ?last seen running 1s 500ms ago\)/)
    })
  }

  for (const error of Object.values(queueErrors)) {
    it(`round-trip ${error._tag}`, () => {
      const back = throughJson(QueueError.QueueError, error)
      assert.strictEqual<unknown>(back.constructor, QueueError[error._tag])
      assert.instanceOf(back, Error)
      assert(Equal.equals(back, error), inspect([error, back]))
      deepStrictEqual({ ...back }, { ...error })
    })
  }

  for (const error of Object.values(otherErrors)) {
    it(`round-trip ${error._tag}`, () => {
      const back = throughJson(otherClasses, error)
      assert.strictEqual<unknown>(back.constructor, QueueError[error._tag])
      assert.instanceOf(back, Error)
      deepStrictEqual({ ...back }, { ...error })
      assert.strictEqual(back.message, error.message)
    })
  }

  it("round-trip an error with only its required fields", () => {
    const least = new QueueError.InvalidRequest({ operation: "clear", model: "" })
    assert(Equal.equals(throughJson(QueueError.QueueError, least), least))
    const mismatch = new QueueError.JobMismatch({ job })
    assert(Equal.equals(throughJson(QueueError.JobMismatch, mismatch), mismatch))
    const failed = new QueueError.JobFailed({ job, snapshot })
    deepStrictEqual({ ...throughJson(QueueError.JobFailed, failed) }, { ...failed })
  })

  it("reject any other value", () => {
    const decode = Schema.decodeUnknownEither(QueueError.QueueError)
    for (
      const odd of [
        null,
        "JobNotFound",
        {},
        { _tag: "JobNotFound" },
        { _tag: "Lost", operation: "status", model: "m", httpStatus: 404 },
        { _tag: "JobNotFound", operation: "delete", model: "m", httpStatus: 404 },
        { _tag: "JobNotFound", operation: "status", model: "m", httpStatus: "404" },
        { _tag: "RateLimited", operation: "status", model: "m", httpStatus: 429, retryAfter: -1 }
      ]
    ) {
      assert.strictEqual(decode(odd)._tag, "Left", JSON.stringify(odd))
    }
  })
})

describe("isTransient", () => {
  it("is true only for errors that a retry may resolve", () => {
    const transient = Object.values(queueErrors).map((error) => [error._tag, QueueError.isTransient(error)])
    assert.deepStrictEqual(Object.fromEntries(transient), {
      InvalidRequest: false,
      AccessDenied: false,
      JobNotFound: false,
      RateLimited: true,
      Unavailable: true,
      Unreachable: true,
      ResponseTimeout: true,
      ResponseTooLarge: false,
      UnexpectedResponse: true
    })
  })

  it("is false for every error of a submit, a watch or an outcome that is not one of a call", () => {
    const { InvalidCursor: _, ...others } = otherErrors
    for (const error of [journal, ...Object.values(others)]) {
      assert.isFalse(QueueError.isTransient(error), error._tag)
    }
  })

  it("is false for a server that is unreachable until a setting is corrected", () => {
    for (const operation of QueueError.Operation.literals) {
      const error = new QueueError.Unreachable({
        operation,
        model: job.model,
        reason: "self-signed certificate",
        sent: false,
        transient: false
      })
      assert.isFalse(QueueError.isTransient(error), operation)
      assert.isFalse(QueueError.mayHaveArrived(error), operation)
      assert(Equal.equals(throughJson(QueueError.QueueError, error), error))
    }
  })
})

describe("mayHaveArrived", () => {
  const submit = { operation: "submit", model: job.model } as const
  const arrived = (error: QueueError.QueueError) => QueueError.mayHaveArrived(error)

  it("is false if the service returned an error that its API documents, or was not reached", () => {
    const { httpStatus, retryAfter } = { httpStatus: 503, retryAfter: Duration.zero }
    for (
      const error of [
        ...[400, 413, 422].map((httpStatus) => new QueueError.InvalidRequest({ ...submit, httpStatus })),
        new QueueError.InvalidRequest(submit),
        ...[401, 403].map((httpStatus) => new QueueError.AccessDenied({ ...submit, httpStatus })),
        new QueueError.JobNotFound({ ...submit, httpStatus: 404 }),
        new QueueError.RateLimited({ ...submit, httpStatus: 429 }),
        new QueueError.Unavailable({ ...submit, httpStatus, retryAfter }),
        new QueueError.Unreachable({ ...submit, reason: "connect ECONNREFUSED", sent: false })
      ]
    ) {
      assert.isFalse(arrived(error), error.message)
    }
  })

  it("is true for a submit that is uncertain, and false for one that the journal stopped", () => {
    assert.isTrue(QueueError.mayHaveArrived(otherErrors.SubmitUncertain))
    assert.isFalse(QueueError.mayHaveArrived(journal))
  })

  it("is true for a response that is too long", () => {
    assert.isTrue(arrived(new QueueError.ResponseTooLarge({ ...submit, httpStatus: 200, maxBytes: 1 })))
  })

  it("is true for all other errors, which are transient for every call except submit", () => {
    const { retryAfter } = { retryAfter: Duration.seconds(1) }
    const uncertain = (about: { readonly operation: QueueError.Operation; readonly model: string }) => [
      new QueueError.Unavailable({ ...about, httpStatus: 503 }),
      ...[408, 500, 502, 504].map((httpStatus) => new QueueError.Unavailable({ ...about, httpStatus, retryAfter })),
      new QueueError.Unreachable({ ...about, reason: "read ECONNRESET" }),
      new QueueError.ResponseTimeout({ ...about, after: Duration.seconds(30) }),
      ...[0, 200, 201, 204, 301, 302, 303, 304, 307, 308, 402, 405, 409, 410, 418, 425, 501, 505].map((httpStatus) =>
        new QueueError.UnexpectedResponse({ ...about, httpStatus, retryAfter, issue: "", body: "" })
      )
    ]
    for (const error of uncertain(submit)) {
      assert.isTrue(arrived(error), error.message)
      assert.isFalse(QueueError.isTransient(error), error.message)
    }
    for (const operation of ["status", "cancel", "clear", "metrics"] as const) {
      for (const error of uncertain({ ...submit, operation })) {
        assert.isTrue(QueueError.isTransient(error), error.message)
      }
    }
  })
})

describe("isQueueError", () => {
  it("is true for the errors of calls", () => {
    for (const error of Object.values(queueErrors)) {
      assert.isTrue(QueueError.isQueueError(error), error._tag)
      assert.isTrue(QueueError.isQueueError(throughJson(QueueError.QueueError, error)), error._tag)
    }
  })

  it("is false for all other values", () => {
    for (const error of Object.values(otherErrors)) assert.isFalse(QueueError.isQueueError(error), error._tag)
    for (const other of [null, undefined, "JobNotFound", { _tag: "JobNotFound" }, new Error("x"), queueErrors]) {
      assert.isFalse(QueueError.isQueueError(other))
    }
  })
})

describe("the messages", () => {
  const at = "my-org/video-generator/019ba379-92da-71e4-ac40-d98059fd67c7"
  const facts = "parameter model, retry after 1s 500ms, request req-1"

  it("have the request, the result and the reason", () => {
    const messages = [...Object.values(queueErrors), ...Object.values(otherErrors)].map((error) => [
      error._tag,
      error.message
    ])
    assert.deepStrictEqual(Object.fromEntries(messages), {
      InvalidRequest: `status ${at}: the request is invalid (HTTP 400, ${facts}): because`,
      AccessDenied: `status ${at}: the service does not accept this token (HTTP 401, ${facts}): because`,
      JobNotFound: `status ${at}: the service knows no such job (HTTP 404, ${facts}): because`,
      RateLimited: `status ${at}: too many requests (HTTP 429, ${facts}): because`,
      Unavailable: `status ${at}: the service is not available (HTTP 503, ${facts}): because`,
      Unreachable: `status ${at}: no answer from the service: connect ECONNREFUSED 127.0.0.1:1`,
      ResponseTimeout: `status ${at}: no whole answer within 30s`,
      ResponseTooLarge: `status ${at}: the response is longer than 67108864 bytes (HTTP 200)`,
      UnexpectedResponse:
        `status ${at}: an answer that makes no sense: status: is missing (HTTP 200, ${facts}): because`,
      SubmitUncertain: "submit my-org/video-generator: it is not known whether there is a job (key order-17, sent at " +
        "2026-02-07T10:30:00.000Z): submit my-org/video-generator: no whole answer within 30s",
      UnrecognizedStatus: `${at}: the service says "paused", which is no state that is known here`,
      JobMismatch: `${at}: the service answers for this job, asked for my-org/other/b`,
      PendingTooLong: `${at}: no worker has claimed the job for 10m (last seen pending 1s 500ms ago; cancel: canceled)`,
      Stalled:
        `${at}: the job is running, and nothing has changed for 10m (last seen running 1s 500ms ago; attempt 1; ${`last trouble: ${queueErrors.Unavailable.message}`})`,
      WatchTimeout: `${at}: the job has not ended within 1d (never seen)`,
      InvalidCursor: `not a cursor: unknown version: "eqs0.\\"x"`,
      JobFailed: `${at}: the model failed the job: out of memory`,
      JobRetriesExhausted: `${at}: given up by the service after 4 lost attempts`,
      JobCanceled: `${at}: the job was canceled`,
      InvalidOutputs: `${at}: the job is done, its outputs are not as expected: video_url: is missing`
    })
  })

  it("omit unknown parts", () => {
    const clear = { operation: "clear", model: "m" } as const
    assert.strictEqual(
      new QueueError.InvalidRequest({ ...clear, detail: "model: is missing" }).message,
      "clear m: not sent, the request is invalid: model: is missing"
    )
    assert.strictEqual(
      new QueueError.JobNotFound({ ...clear, httpStatus: 404 }).message,
      "clear m: the service knows no such model (HTTP 404)"
    )
    assert.strictEqual(
      new QueueError.RateLimited({ ...clear, httpStatus: 429, retryAfter: Duration.zero }).message,
      "clear m: too many requests (HTTP 429, retry after 0)"
    )
    assert.strictEqual(
      new QueueError.AccessDenied({ ...about, httpStatus: 401, detail: "expired", lastSeen }).message,
      `status ${at}: the service does not accept this token (HTTP 401, last seen running 1s 500ms ago): expired`
    )
    assert.strictEqual(
      new QueueError.SubmitUncertain({ model: "m", key: "k", at: DateTime.unsafeMake(0) }).message,
      "submit m: it is not known whether there is a job (key k, sent at 1970-01-01T00:00:00.000Z): " +
        "the program that sent it ended before the response"
    )
    assert.strictEqual(
      new QueueError.JobMismatch({ job }).message,
      `${at}: the cursor is of another job`
    )
    assert.strictEqual(
      new QueueError.JobFailed({ job, snapshot }).message,
      `${at}: the model failed the job: no reason was given`
    )
  })

  it("are in the printed error", () => {
    for (const error of [...Object.values(queueErrors), ...Object.values(otherErrors)]) {
      assert.strictEqual(String(error), `${error._tag}: ${error.message}`)
      assert.include(inspect(error), error.message)
      assert.include(error.stack ?? "", error.message)
    }
  })
})

describe("the errors", () => {
  it.effect("are caught by their tags, and can be yielded", () =>
    Effect.gen(function*() {
      const caught = yield* queueErrors.JobNotFound.pipe(
        Effect.catchTag("JobNotFound", (error) => Effect.succeed(error.job))
      )
      assert.deepStrictEqual(caught, job)
      assert.strictEqual(queueErrors.JobNotFound.name, "JobNotFound")
    }))

  it("have no cause: they contain nothing of the request", () => {
    for (const error of Object.values(queueErrors)) assert.isUndefined(error.cause, error._tag)
  })

  it("are equal whatever the order of their fields", () => {
    const a = new QueueError.JobNotFound({ ...about, httpStatus: 404, detail: "x" })
    const b = new QueueError.JobNotFound({
      detail: "x",
      httpStatus: 404,
      ...about,
      job: Job.ref(job.model, job.requestId)
    })
    assert(Equal.equals(a, b))
    assert(!Equal.equals(a, new QueueError.JobNotFound({ ...about, httpStatus: 404, detail: "y" })))
    assert(!Equal.equals(a, new QueueError.AccessDenied({ ...about, httpStatus: 404, detail: "x" })))
  })
})

describe("the trace of an error", () => {
  it("is its name and its message without stack frames, and the traces of other errors are unchanged", () => {
    for (const error of [...Object.values(queueErrors), ...Object.values(otherErrors)]) {
      assert.strictEqual(Cause.pretty(Cause.fail(error)), `${error._tag}: ${error.message}`)
    }
    assert.isAbove(new Error("another").stack!.split("\n").length, 2)
  })
})

describe("a log", () => {
  const megabytes = "x".repeat(5_000_000)
  const text = "y".repeat(50_000)
  const large = { prompt: megabytes, frames: Array.from({ length: 1_000 }, (_, i) => ({ i })) }
  const snapshot = Job.Failed({ job, info: large, inputs: large, outputs: large, retries: Option.some(2) })
  const lastSeen = { status: snapshot, age: Duration.millis(1_500), attempt: 3 }

  const { cursor } = Either.getOrThrow(
    Transition.derive(Option.none(), snapshot, { observedAt: DateTime.unsafeMake(0) })
  )
  const stage = (error: QueueError.RunError) => new JobStage.StageFailed({ stage: "image", error, job, cursor })

  // each class with very large fields
  const errors: ReadonlyArray<QueueError.WatchError | QueueError.OutcomeError | JobStage.StageFailed | Error> = [
    ...Object.values(queueErrors).map((error) => {
      const Class = error.constructor as new(fields: unknown) => QueueError.QueueError // the class of the error
      return new Class({ ...error, lastSeen, detail: text, reason: text, issue: text, body: text })
    }),
    new QueueError.UnrecognizedStatus({ job, status: text, snapshot }),
    new QueueError.PendingTooLong({ ...expired, lastSeen, cancel: { _tag: "NotCanceled", status: text } }),
    new QueueError.Stalled({
      ...expired,
      lastSeen,
      lastError: new QueueError.Unreachable({ ...about, lastSeen, reason: text })
    }),
    new QueueError.WatchTimeout({ ...expired, lastSeen }),
    new QueueError.SubmitUncertain({
      model: job.model,
      key: text,
      at: DateTime.unsafeMake(0),
      error: new QueueError.UnexpectedResponse({ ...about, lastSeen, httpStatus: 200, issue: text, body: text })
    }),
    new QueueError.InvalidCursor({ text, issue: text }),
    new QueueError.JobFailed({ job, reason: text, snapshot }),
    new QueueError.JobRetriesExhausted({ job, attempts: 4, snapshot }),
    new QueueError.JobCanceled({ job, snapshot }),
    new QueueError.InvalidOutputs({ job, issue: text, snapshot }),
    stage(new QueueError.JobFailed({ job, reason: text, snapshot })),
    stage(new QueueError.Stalled({ ...expired, lastSeen })),
    new QueueError.JournalError({ key: text, operation: "get", reason: text })
  ]

  // the whole output of a logger
  const written = (logger: (write: (text: string) => void) => Layer.Layer<never>, log: Effect.Effect<void>) =>
    Effect.gen(function*() {
      let text = ""
      const print = (...args: ReadonlyArray<unknown>) => {
        text += `${format(...args)}\n`
      }
      const unsafe = { ...console, log: print, error: print, info: print, group: print, groupCollapsed: print }
      yield* log.pipe(
        Effect.provide(logger((line) => print(line))),
        Effect.withConsole({ ...(yield* Effect.console), unsafe })
      )
      return text
    })

  const loggers = {
    string: (write) => Logger.replace(Logger.defaultLogger, Logger.map(Logger.stringLogger, write)),
    logfmt: (write) => Logger.replace(Logger.defaultLogger, Logger.map(Logger.logfmtLogger, write)),
    json: (write) => Logger.replace(Logger.defaultLogger, Logger.map(Logger.jsonLogger, write)),
    structured: (write) =>
      Logger.replace(
        Logger.defaultLogger,
        Logger.map(Logger.structuredLogger, (entry) => write(inspect(entry, { depth: Infinity })))
      ),
    pretty: () => Logger.replace(Logger.defaultLogger, Logger.prettyLogger({ mode: "tty", colors: false }))
  } satisfies { readonly [name: string]: (write: (text: string) => void) => Layer.Layer<never> }

  const ways = {
    "as the message": (error: Error) => Effect.logError(error),
    "beside a message": (error: Error) => Effect.logError("it went wrong", error),
    "as a cause": (error: Error) => Effect.logError("it went wrong", Cause.fail(error)),
    "as a defect": (error: Error) => Effect.logError(Cause.parallel(Cause.die(error), Cause.fail(error))),
    "in an exit": (error: Error) => Effect.logError("it went wrong", Exit.fail(error)),
    "as an annotation": (error: Error) => Effect.annotateLogs(Effect.logError("it went wrong"), { error })
  }

  for (const [name, logger] of Object.entries(loggers)) {
    for (const [way, log] of Object.entries(ways)) {
      it.effect(`has an error in its short form: ${name}, ${way}`, () =>
        Effect.gen(function*() {
          for (const error of errors) {
            const line = yield* written(logger, log(error))
            // the size of a stack has no bound, and a cause of two errors has two stacks
            const stack = (error.stack ?? "").length - error.message.length
            assert.isBelow(
              line.length,
              2_500 + 4 * stack + error.message.length,
              `${error.name}\n${line.slice(0, 4_000)}`
            )
            assert.include(line, error.name)
          }
        }))
    }
  }

  it("has the reference, state, attempt, age and message", () => {
    assert.deepStrictEqual(JSON.parse(JSON.stringify(new QueueError.WatchTimeout({ ...expired, lastSeen }))), {
      _tag: "WatchTimeout",
      message: "my-org/video-generator/019ba379-92da-71e4-ac40-d98059fd67c7: the job has not ended within 10m " +
        "(last seen failed 1s 500ms ago; attempt 3)",
      job: { model: job.model, requestId: job.requestId },
      after: "10m",
      state: "Failed",
      attempt: 3,
      age: "1s 500ms"
    })
    assert.deepStrictEqual(JSON.parse(JSON.stringify(new QueueError.JobCanceled({ job, snapshot }))), {
      _tag: "JobCanceled",
      message: "my-org/video-generator/019ba379-92da-71e4-ac40-d98059fd67c7: the job was canceled",
      job: { model: job.model, requestId: job.requestId },
      state: "Failed"
    })
  })

  it("does not change the error: it keeps its snapshot, also through JSON", () => {
    const failed = new QueueError.JobFailed({ job, snapshot })
    assert.strictEqual(failed.snapshot, snapshot)
    const timeout = new QueueError.WatchTimeout({ ...expired, lastSeen })
    assert.strictEqual(timeout.lastSeen?.status, snapshot)
    deepStrictEqual({ ...throughJson(QueueError.JobFailed, failed) }, { ...failed })
    deepStrictEqual({ ...throughJson(QueueError.WatchTimeout, timeout) }, { ...timeout })
  })
})
