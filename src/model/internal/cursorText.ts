/** The text of a cursor: version, job, phase, retries, two times, the digest of `info`, and a checksum. @internal */
import * as Either from "effect/Either"
import { checksum, isInfoPrint } from "./fingerprint.js"
import { lastDate } from "./limits.js"
import type { Known } from "./position.js"

const letters = { Queued: "q", Running: "r", Ended: "e" } as const

const phases = { q: "Queued", r: "Running", e: "Ended" } as const

const formatTime = (millis: number | undefined): string => millis === undefined ? "" : millis.toString(36)

const parseTime = (text: string): number | undefined => text === "" ? undefined : Number.parseInt(text, 36)

const isTime = (millis: number | undefined): boolean => millis === undefined || Math.abs(millis) <= lastDate

const cursorText =
  /^1([0-9a-z]{14})([qre])(\d{1,3})\.(-?[0-9a-z]*)\.(-?[0-9a-z]*)\.(~?[A-Za-z0-9_-]*|\*)\.([0-9a-z]{7})$/

/** @internal */
export const format = (fields: Known): string => {
  const body = `1${fields.job}${letters[fields.phase]}${fields.retries}.${formatTime(fields.at)}.${
    formatTime(fields.claimedAt)
  }.${fields.info ?? "*"}.`
  return body + checksum(body)
}

/** @internal */
export const parse = (text: string): Either.Either<Known, string> => {
  const match = cursorText.exec(text)
  if (match === null) {
    return Either.left(/^[02-9]/.test(text) ? "written by another version of this library" : "it has another form")
  }
  const [, job = "", letter = "q", retries = "0", at = "", claimedAt = "", info = "", sum = ""] = match
  if (checksum(text.slice(0, -sum.length)) !== sum) return Either.left("it was cut short or changed")
  const fields: Known = {
    job,
    // the pattern admits no other letter
    phase: phases[letter as keyof typeof phases],
    retries: Number(retries),
    at: parseTime(at),
    claimedAt: parseTime(claimedAt),
    info: info === "*" ? undefined : info
  }
  if (!isTime(fields.at) || !isTime(fields.claimedAt)) return Either.left("it has a time that there is not")
  if (info !== "*" && !isInfoPrint(info)) return Either.left("it has another form")
  // Each cursor has one text: reject `007` retries, a time of `-0`, and one with more digits than a number holds.
  return format(fields) === text ? Either.right(fields) : Either.left("it is not in canonical form")
}
