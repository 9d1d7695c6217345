// A job as one word of a command line.
import * as Args from "@effect/cli/Args"
import * as HelpDoc from "@effect/cli/HelpDoc"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { type JobRef, parse, ref } from "../model/Job.js"
import { Operation } from "../model/QueueError.js"
import { formatIssues } from "../queue/internal/request.js"

const uuid = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"

// The messages of the library begin with the job, or with the operation and the job.
const message = new RegExp(
  `^(?:queue-status: )?(?:(?:${Operation.literals.join("|")}) )?(\\S.*?/${uuid}): `,
  "i"
)

const fromUrl = (text: string): Either.Either<JobRef, string> => {
  const url = URL.canParse(text) ? new URL(text) : undefined
  const [model, requestId] = [url?.searchParams.get("model") ?? "", url?.searchParams.get("request_id") ?? ""]
  return url?.pathname.endsWith("/queue/status") === true && model.trim() !== "" && requestId.trim() !== ""
    ? Either.right(ref(model, requestId))
    : Either.left(`the URL of a job is …/queue/status?model=…&request_id=…, not ${text}`)
}

/**
 * Parses `MODEL/REQUEST_ID`, the URL of the status endpoint, or a message of this library about a job. Reads what
 * `Job.format` writes, unless the model is itself a URL or contains such a message.
 */
export const parseJob = (text: string): Either.Either<JobRef, string> =>
  /^https?:\/\//i.test(text)
    ? fromUrl(text)
    : Either.mapLeft(parse(message.exec(text)?.[1] ?? text), formatIssues)

export const jobArgument: Args.Args<JobRef> = Args.text({ name: "job" }).pipe(
  Args.withDescription("MODEL/REQUEST_ID as `submit` prints it, the URL of its status, or an error message about it"),
  Args.mapEffect((text) => Effect.mapError(parseJob(text), HelpDoc.p))
)

/** Quotes a word for a POSIX shell, if necessary. */
export const quoted = (word: string): string =>
  /^[\w@%+=:,./~-]+$/.test(word) && !word.startsWith("~") ? word : `'${word.replaceAll("'", "'\\''")}'`
