/**
 * A job as one word of a command line: `my-org/video-generator/019ba379-92da-71e4-ac40-d98059fd67c7`.
 *
 * @internal
 */
import * as Args from "@effect/cli/Args"
import * as HelpDoc from "@effect/cli/HelpDoc"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { ref } from "../model/Job.js"
import type { JobRef } from "../model/Job.js"

/**
 * What `parseJob` reads. Request ids of the service have no slash; a model's name may have some.
 *
 * @internal
 */
export const formatJob = (job: JobRef): string => `${job.model}/${job.requestId}`

/** @internal */
export const parseJob = (text: string): Either.Either<JobRef, string> => {
  const slash = text.lastIndexOf("/")
  const model = text.slice(0, slash)
  const requestId = text.slice(slash + 1)
  if (text.startsWith("-") && slash === -1) return Either.left(`there is no option ${text}`)
  return slash === -1 || model.trim() === "" || requestId.trim() === ""
    ? Either.left(`not a job: ${JSON.stringify(text)}; a job is named MODEL/REQUEST_ID`)
    : Either.right(ref(model, requestId))
}

/** @internal */
export const jobArgument: Args.Args<JobRef> = Args.text({ name: "job" }).pipe(
  Args.withDescription("MODEL/REQUEST_ID, as `submit` prints it"),
  Args.mapEffect((text) => Effect.mapError(parseJob(text), HelpDoc.p))
)

/**
 * A word as a shell reads it.
 *
 * @internal
 */
export const quoted = (word: string): string =>
  /^[\w@%+=:,./~-]+$/.test(word) && !word.startsWith("~") ? word : `'${word.replaceAll("'", "'\\''")}'`
