/**
 * Text for people: durations, and what came from elsewhere, made harmless.
 *
 * @internal
 */
import * as Duration from "effect/Duration"
import stringWidth from "string-width"
import type { QueueError } from "../model/QueueError.js"

const escaped = (character: string): string => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`

/**
 * What a worker or a service says, with its control characters written out: a terminal obeys them.
 *
 * @internal
 */
export const printable = (text: string): string => text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, escaped)

/**
 * JSON in one line, without a character that a terminal obeys.
 *
 * @internal
 */
export const jsonLine = (value: unknown): string => printable(JSON.stringify(value))

/**
 * JSON as a person reads it, without a character that a terminal obeys.
 *
 * @internal
 */
export const jsonText = (value: unknown): string => JSON.stringify(value, null, 2).split("\n").map(printable).join("\n")

/** @internal */
export const seconds = (millis: number): string => `${(millis / 1000).toFixed(1)} s`

const two = (n: number): string => String(n).padStart(2, "0")

/**
 * A time as a person tells it: `4.2 s`, `42 s`, `3 m 07 s`, `1 h 02 m`, `2 d 03 h`.
 *
 * @internal
 */
export const elapsed = (millis: number): string => {
  const s = Math.max(0, millis) / 1000
  if (s < 10) return `${(Math.floor(s * 10) / 10).toFixed(1)} s`
  if (s < 60) return `${Math.floor(s)} s`
  const m = Math.floor(s / 60)
  if (m < 60) return `${m} m ${two(Math.floor(s % 60))} s`
  const h = Math.floor(m / 60)
  return h < 24 ? `${h} h ${two(m % 60)} m` : `${Math.floor(h / 24)} d ${two(h % 24)} h`
}

/**
 * A trouble in two or three words.
 *
 * @internal
 */
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

/**
 * A text with blanks after it, up to this many columns of a terminal: a letter may take two.
 *
 * @internal
 */
export const padded = (text: string, columns: number): string =>
  text + " ".repeat(Math.max(0, columns - stringWidth(text)))
