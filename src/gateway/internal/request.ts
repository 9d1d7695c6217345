/**
 * The requests of the gateway.
 *
 * @internal
 */
import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as Either from "effect/Either"
import * as Job from "../../model/Job.js"
import { InvalidRequest, JobMismatch } from "../../model/QueueError.js"
import type { InvalidCursor } from "../../model/QueueError.js"
import * as Transition from "../../model/Transition.js"
import { clip } from "../../queue/internal/request.js"

/** A job, and what the client knows of it. @internal */
export interface Query {
  readonly job: Job.JobRef
  readonly from: Transition.Cursor | undefined
  /** How long to wait for news, in seconds. */
  readonly wait: number
}

/** @internal */
export type QueryError = InvalidRequest | InvalidCursor | JobMismatch

// a job, a cursor and a number need less
const maxUrlLength = 4_096

const invalid = (
  about: { readonly model: string; readonly job?: Job.JobRef },
  param: string,
  detail: string
): Either.Either<never, InvalidRequest> =>
  Either.left(new InvalidRequest({ operation: "status", ...about, httpStatus: 400, param, detail }))

const parseJob = (texts: ReadonlyArray<string>): Either.Either<Job.JobRef, InvalidRequest> => {
  const [text = "", ...others] = texts
  const about = { model: clip(text) }
  return others.length > 0
    ? invalid(about, "job", "the query names more than one job")
    : Either.orElse(Job.parse(text), () => invalid(about, "job", "a job is named MODEL/REQUEST_ID"))
}

const parseFrom = (job: Job.JobRef, text: string | null): Either.Either<Transition.Cursor | undefined, QueryError> =>
  text === null ? Either.right(undefined) : Either.flatMap(
    Transition.parseCursor(text),
    (cursor) => Transition.Cursor.isOf(cursor, job) ? Either.right(cursor) : Either.left(new JobMismatch({ job }))
  )

const parseWait = (job: Job.JobRef, text: string | null): Either.Either<number, InvalidRequest> =>
  text === null || /^\d{1,6}$/.test(text)
    ? Either.right(Number(text))
    : invalid({ model: job.model, job }, "wait", "the wait is a number of seconds")

/** The path of a request, relative to where the gateway is mounted. @internal */
export const pathOf = (request: HttpServerRequest.HttpServerRequest): string => request.url.split("?", 1)[0] ?? ""

/** Parses the query. A `Last-Event-ID` has precedence over `from`: an `EventSource` repeats its first URL. @internal */
export const parseQuery = (request: HttpServerRequest.HttpServerRequest): Either.Either<Query, QueryError> =>
  Either.gen(function*() {
    if (request.url.length > maxUrlLength) {
      return yield* invalid({ model: "" }, "job", `the URL is longer than ${maxUrlLength} characters`)
    }
    const query = new URLSearchParams(request.url.slice(pathOf(request).length))
    const job = yield* parseJob(query.getAll("job"))
    const from = yield* parseFrom(job, request.headers["last-event-id"] ?? query.get("from"))
    return { job, from, wait: yield* parseWait(job, query.get("wait")) }
  })
