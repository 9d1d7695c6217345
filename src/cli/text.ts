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

/** Text of several lines, with all other control characters escaped. */
export const printableLines = (text: string): string => text.split("\n").map(printable).join("\n")

/** Indented JSON, with control characters escaped. */
export const jsonText = (value: unknown): string => printableLines(JSON.stringify(value, null, 2))

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
    default:
      return printable(error.message)
  }
}

/** How many columns of a terminal a text takes: a letter may take two, or none. */
export const widthOf = (text: string): number =>
  // most texts have no such letter, and to look for letters takes most of the time of a row
  /^[ -~…█░]*$/.test(text) ? text.length : stringWidth(text)

/** Adds blanks up to a width in columns of a terminal. */
export const padded = (text: string, columns: number): string => text + " ".repeat(Math.max(0, columns - widthOf(text)))

const segmenter = new Intl.Segmenter()

/** Cuts the start of a text that is too wide, by whole letters: cli-truncate cuts an emoji of several code points. */
export const ending = (text: string, columns: number): string => {
  if (widthOf(text) <= columns) return text
  let end = ""
  for (const { segment: letter } of Array.from(segmenter.segment(text)).reverse()) {
    if (widthOf(`…${letter}${end}`) > columns) break
    end = letter + end
  }
  return columns > 0 ? `…${end}` : ""
}

// The ends of both names: the beginning of a UUIDv7 is the time, which many jobs share.
export const shortNameOf = ({ model, requestId }: JobRef): string =>
  `${ending(printable(model.slice(model.lastIndexOf("/") + 1)), 25)} ${ending(printable(requestId), 9)}`

/** Breaks a text between words, each line after a head, or after blanks as wide. (`Doc.reflow` takes exponential time.) */
export const wrapped = (head: string, text: string): ReadonlyArray<string> => {
  const lines = [head]
  for (const word of text.split(" ")) {
    const last = lines.length - 1
    if (lines[last]!.length + word.length > 100) lines.push(" ".repeat(head.length) + word + " ")
    else lines[last] += `${word} `
  }
  return lines.map((line) => line.trimEnd())
}

export type Entry = readonly [head: string, about: string]

/** The lines of two columns. */
export const table = (entries: ReadonlyArray<Entry>): ReadonlyArray<string> => {
  const width = Math.max(0, ...entries.map(([head]) => head.length))
  return entries.flatMap(([head, about]) => wrapped(`  ${head.padEnd(width)}  `, about))
}

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
