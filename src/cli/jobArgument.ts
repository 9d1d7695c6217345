/**
 * A job as one word of a command line: `my-org/video-generator/019ba379-92da-71e4-ac40-d98059fd67c7`.
 *
 * @internal
 */
import * as Args from "@effect/cli/Args"
import * as HelpDoc from "@effect/cli/HelpDoc"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { parse } from "../model/Job.js"
import type { JobRef } from "../model/Job.js"
import { formatIssues } from "../queue/internal/request.js"

/** @internal */
export const parseJob = (text: string): Either.Either<JobRef, string> =>
  text.startsWith("-") && !text.includes("/")
    ? Either.left(`there is no option ${text}`)
    : Either.mapLeft(parse(text), formatIssues)

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
