/**
 * The requests of the gateway.
 *
 * @internal
 */
import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as Arr from "effect/Array"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Job from "../../model/Job.js"
import { InvalidRequest, JobMismatch } from "../../model/QueueError.js"
import type { InvalidCursor } from "../../model/QueueError.js"
import * as Transition from "../../model/Transition.js"
import { clip } from "../../queue/internal/request.js"
import type { Token } from "../GatewayAccess.js"

/** A job, and what the client knows of it. @internal */
export interface Known {
  readonly job: Job.JobRef
  readonly from: Transition.Cursor | undefined
}

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

/** @internal */
export type QueryError = InvalidRequest | InvalidCursor | JobMismatch

/** The most jobs of a stream: the id of each event has a cursor for each of them. @internal */
export const maxJobs = 20

// twenty jobs and cursors need less, if their models have names of a usual length
const maxUrlLength = 8_192

/** The cursors of several jobs, in their order, as one text; empty for a job of which nothing is known. @internal */
export const formatCursors = (cursors: Iterable<string>): string => Array.from(cursors).join(",")

const invalid = (
  about: { readonly model: string; readonly job?: Job.JobRef },
  param: string,
  detail: string
): Either.Either<never, InvalidRequest> =>
  Either.left(new InvalidRequest({ operation: "status", ...about, httpStatus: 400, param, detail }))

const parseJob = (text: string): Either.Either<Job.JobRef, InvalidRequest> =>
  Either.orElse(Job.parse(text), () => invalid({ model: clip(text) }, "job", "a job is named MODEL/REQUEST_ID"))

const parseJobs = (
  texts: ReadonlyArray<string>,
  maxJobs: number
): Either.Either<Arr.NonEmptyReadonlyArray<Job.JobRef>, InvalidRequest> => {
  const [first = "", ...others] = new Set(texts)
  return others.length < maxJobs
    ? Either.all(Arr.map([first, ...others], parseJob)) as Either.Either<Arr.NonEmptyArray<Job.JobRef>, InvalidRequest>
    : invalid({ model: "" }, "job", `the query names more than ${maxJobs} job${maxJobs === 1 ? "" : "s"}`)
}

const parseKnown = (job: Job.JobRef, cursor: string | undefined): Either.Either<Known, QueryError> =>
  cursor === undefined
    ? Either.right({ job, from: undefined })
    : Either.flatMap(
      Transition.parseCursor(cursor),
      (from) => Transition.Cursor.isOf(from, job) ? Either.right({ job, from }) : Either.left(new JobMismatch({ job }))
    )

const parseCursors = (
  jobs: Arr.NonEmptyReadonlyArray<Job.JobRef>,
  text: string | undefined
): Either.Either<Arr.NonEmptyReadonlyArray<Known>, QueryError> => {
  const cursors = jobs.length === 1 ? [text] : text?.split(",").map((cursor) => cursor || undefined) ?? []
  return text !== undefined && cursors.length !== jobs.length
    ? invalid({ model: "" }, "from", "there is not one cursor for each job")
    : Either.all(Arr.map(jobs, (job, i) => parseKnown(job, cursors[i]))) as Either.Either<
      Arr.NonEmptyArray<Known>,
      QueryError
    >
}

const parseWait = (model: string, text: string | null): Either.Either<number, InvalidRequest> =>
  text === null || /^\d{1,6}$/.test(text)
    ? Either.right(Number(text))
    : invalid({ model }, "wait", "the wait is a number of seconds")

/** @internal */
export const parseToken = (header: string | undefined, query: string | null = null): Option.Option<Token> => {
  const [, inHeader] = header?.match(/^bearer +(\S+)$/i) ?? []
  return inHeader !== undefined
    ? Option.some({ value: Redacted.make(inHeader), isInQuery: false })
    : query === null
    ? Option.none()
    : Option.some({ value: Redacted.make(query), isInQuery: true })
}

/** The path of a request, relative to where the gateway is mounted. @internal */
export const pathOf = (request: HttpServerRequest.HttpServerRequest): string => request.url.split("?", 1)[0] ?? ""

/** Parses the query. A `Last-Event-ID` has precedence over `from`: an `EventSource` repeats its first URL. @internal */
export const parseQuery = (
  request: HttpServerRequest.HttpServerRequest,
  maxJobs: number
): Either.Either<Query, QueryError> =>
  Either.gen(function*() {
    if (request.url.length > maxUrlLength) {
      return yield* invalid({ model: "" }, "job", `the URL is longer than ${maxUrlLength} characters`)
    }
    const query = new URLSearchParams(request.url.slice(pathOf(request).length))
    const jobs = yield* parseJobs(query.getAll("job"), maxJobs)
    const known = yield* parseCursors(jobs, request.headers["last-event-id"] ?? query.get("from") ?? undefined)
    return {
      jobs: known,
      wait: yield* parseWait(jobs[0].model, query.get("wait")),
      token: parseToken(request.headers["authorization"], query.get("token"))
    }
  })
