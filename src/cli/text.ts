// Text for people.
import * as AutoCorrect from "@effect/cli/AutoCorrect"
import * as CliConfig from "@effect/cli/CliConfig"
import * as Duration from "effect/Duration"
import stringWidth from "string-width"
import type { JobRef } from "../model/Job.js"
import type { QueueError } from "../model/QueueError.js"

const escaped = (character: string): string => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`

/** Text of a worker or of the service, with its control characters escaped: a terminal would obey them. */
export const printable = (text: string): string => text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, escaped)

/** JSON in one line, with control characters escaped. */
export const jsonLine = (value: unknown): string => printable(JSON.stringify(value))

/** Indented JSON, with control characters escaped. */
export const jsonText = (value: unknown): string => JSON.stringify(value, null, 2).split("\n").map(printable).join("\n")

export const seconds = (millis: number): string => `${(millis / 1000).toFixed(1)} s`

const two = (n: number): string => String(n).padStart(2, "0")

/** A duration in its two largest units: `4.2 s`, `42 s`, `3 m 07 s`, `1 h 02 m`, `2 d 03 h`. */
export const elapsed = (millis: number): string => {
  const s = Math.max(0, millis) / 1000
  if (s < 10) return `${(Math.floor(s * 10) / 10).toFixed(1)} s`
  if (s < 60) return `${Math.floor(s)} s`
  const m = Math.floor(s / 60)
  if (m < 60) return `${m} m ${two(Math.floor(s % 60))} s`
  const h = Math.floor(m / 60)
  return h < 24 ? `${h} h ${two(m % 60)} m` : `${Math.floor(h / 24)} d ${two(h % 24)} h`
}

/** A transient error in two or three words. */
export const inShort = (error: QueueError): string => {
  switch (error._tag) {
    case "RateLimited":
      return "too many requests"
    case "Unavailable":
      return `HTTP ${error.httpStatus}`
    case "Unreachable":
      return printable(error.reason)
    case "ResponseTimeout":
      return `no answer within ${elapsed(Duration.toMillis(error.after))}`
    case "JobNotFound":
      return "not found"
    case "InvalidRequest":
    case "AccessDenied":
    case "ResponseTooLarge":
    case "UnexpectedResponse":
      return printable(error.message)
  }
}

/** Adds blanks up to a width in columns of a terminal: a letter may take two, or none. */
export const padded = (text: string, columns: number): string =>
  text + " ".repeat(Math.max(0, columns - stringWidth(text)))

const ending = (text: string, length: number): string => text.length <= length ? text : `…${text.slice(-length)}`

// The ends of both names: the beginning of a UUIDv7 is the time, which many jobs share.
export const shortNameOf = ({ model, requestId }: JobRef): string =>
  printable(`${ending(model.slice(model.lastIndexOf("/") + 1), 24)} ${ending(requestId, 8)}`)

const exactly = CliConfig.make({ isCaseSensitive: true })

/** Says that a word is unknown, and which known one was probably meant, or else all of them. */
export const unknown = (kind: string, word: string, known: ReadonlyArray<string>): string => {
  const [nearest] = known
    .map((name) => ({ name, distance: AutoCorrect.levensteinDistance(word, name, exactly) }))
    .sort((a, b) => a.distance - b.distance)
  const hint = nearest !== undefined && nearest.distance <= Math.max(2, word.length / 3)
    ? `did you mean "${nearest.name}"?`
    : `there are ${known.join(", ")}`
  return `there is no ${kind} "${word}": ${hint}`
}
