/** The requests of the gateway. */
import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as Arr from "effect/Array"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { isSameJob } from "../../model/internal/jobKey.js"
import * as Job from "../../model/Job.js"
import { type InvalidCursor, InvalidRequest, JobMismatch } from "../../model/QueueError.js"
import * as Transition from "../../model/Transition.js"
import { clip } from "../../queue/internal/request.js"
import type { Known } from "../../watch/JobStream.js"
import type { Token } from "../GatewayAccess.js"

/** @internal */
export interface Query {
  /** At least one, each once. */
  readonly jobs: Arr.NonEmptyReadonlyArray<Known>
  /** How long to wait for news, in seconds. */
  readonly wait: number
  readonly token: Option.Option<Token>
}

/** Whether the client has not seen the end of the job. @internal */
export const isOpen = ({ from }: Known): boolean => from?.phase !== "Ended"

type QueryError = InvalidRequest | InvalidCursor | JobMismatch

/** The most jobs of a stream: the id of each event has a cursor for each of them. @internal */
export const maxJobs = 20

// twenty jobs and cursors need less, if their models have names of a usual length
const maxUrlLength = 8_192

/** The cursors of several jobs, in their order, as one text; empty for a job of which nothing is known. @internal */
export const formatCursors = (cursors: Iterable<string>): string => Array.from(cursors).join(",")

const invalid = (param: string, detail: string, model = ""): Either.Either<never, InvalidRequest> =>
  Either.left(new InvalidRequest({ operation: "status", model, httpStatus: 400, param, detail }))

const parseJob = (name: string): Either.Either<Job.JobRef, InvalidRequest> =>
  Either.orElse(Job.parse(name), () => invalid("job", "a job is named MODEL/REQUEST_ID", clip(name)))

const parseCursor = (job: Job.JobRef, text: string | undefined): Either.Either<Known, QueryError> =>
  text === undefined
    ? Either.right({ job, from: undefined })
    : Either.flatMap(
      Transition.parseCursor(text),
      (from) => Transition.Cursor.isOf(from, job) ? Either.right({ job, from }) : Either.left(new JobMismatch({ job }))
    )

/** @internal */
export const parseToken = (header: string | undefined, query: string | null = null): Option.Option<Token> => {
  const [, inHeader] = header?.match(/^bearer +(\S+)$/i) ?? []
  return Option.map(
    Option.fromNullable(inHeader ?? query),
    (text) => ({ value: Redacted.make(text), isInQuery: inHeader === undefined })
  )
}

/** The path of a request, relative to where the gateway is mounted. @internal */
export const pathOf = (request: HttpServerRequest.HttpServerRequest): string => request.url.split("?", 1)[0] ?? ""

/** @internal */
export const paramsOf = (request: HttpServerRequest.HttpServerRequest): URLSearchParams =>
  new URLSearchParams(request.url.slice(pathOf(request).length))

/** @internal */
export const tokenOf = (request: HttpServerRequest.HttpServerRequest): Option.Option<Token> =>
  parseToken(request.headers["authorization"], paramsOf(request).get("token"))

/** Parses the query. A `Last-Event-ID` has precedence over `from`: an `EventSource` repeats its first URL. @internal */
export const parseQuery = (
  request: HttpServerRequest.HttpServerRequest,
  maxJobs: number
): Either.Either<Query, QueryError> =>
  Either.gen(function*() {
    if (request.url.length > maxUrlLength) {
      return yield* invalid("job", `the URL is longer than ${maxUrlLength} characters`)
    }
    const query = paramsOf(request)
    const [name = "", ...names] = new Set(query.getAll("job"))
    if (names.length >= maxJobs) {
      return yield* invalid("job", `the query names more than ${maxJobs} job${maxJobs === 1 ? "" : "s"}`)
    }
    const named = Arr.make(yield* parseJob(name), ...yield* Either.all(names.map(parseJob)))
    // a job may have several names: an escape may be in either case
    const [job, ...jobs] = Arr.dedupeWith(named, isSameJob)
    const text = request.headers["last-event-id"] ?? query.get("from") ?? undefined
    const [cursor, ...cursors] = jobs.length === 0
      ? [text]
      : text?.split(",").map((cursor) => cursor || undefined) ?? []
    if (text !== undefined && cursors.length !== jobs.length) {
      return yield* invalid("from", "there is not one cursor for each job")
    }
    const first = yield* parseCursor(job, cursor)
    const others = yield* Either.all(jobs.map((job, i) => parseCursor(job, cursors[i])))
    const wait = query.get("wait")
    if (wait !== null && !/^\d{1,6}$/.test(wait)) {
      return yield* invalid("wait", "the wait is a number of seconds", first.job.model)
    }
    return {
      jobs: [first, ...others],
      wait: Number(wait),
      token: parseToken(request.headers["authorization"], query.get("token"))
    }
  })
