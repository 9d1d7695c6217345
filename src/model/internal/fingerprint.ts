import type { JobRef, JsonObject } from "../Job.js"

// FNV-1a over UTF-16 code units, with the finalizer of MurmurHash3. Its own, because cursors outlive a process and a
// version: what a dependency does to its hashes must not make them void.
const hash32 = (text: string, seed: number): number => {
  let hash = (0x811c9dc5 ^ seed) >>> 0
  for (let i = 0; i < text.length; i++) {
    hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}

const base36 = (value: number): string => value.toString(36).padStart(7, "0")

// 64 bits. Joined, not added: a sum of strings keeps its parts, and takes three times the room for as long as nobody
// reads it.
const print64 = (text: string): string => [base36(hash32(text, 1)), base36(hash32(text, 2))].join("")

/**
 * Seven letters and digits for a text.
 *
 * @internal
 */
export const checksum = (text: string): string => base36(hash32(text, 0))

/**
 * Fourteen letters and digits (64 bits) for a job.
 *
 * @internal
 */
export const jobPrint = (job: JobRef): string => print64(JSON.stringify([job.model, job.requestId]))

// Nothing below this depth is looked at: a document may be nested deeper than a stack is.
const maxDepth = 64

// The same text for the same JSON value, in whatever order its keys come.
const canonical = (value: unknown, depth: number): string => {
  if (typeof value !== "object" || value === null) {
    return typeof value === "bigint" ? `${value}n` : JSON.stringify(value) ?? "null"
  }
  if (depth === maxDepth) return "…"
  return Array.isArray(value)
    ? `[${value.map((entry) => canonical(entry, depth + 1)).join(",")}]`
    : `{${
      Object.entries(value).sort(([a], [b]) => a < b ? -1 : 1).map(([key, entry]) =>
        `${JSON.stringify(key)}:${canonical(entry, depth + 1)}`
      ).join(",")
    }}`
}

/**
 * Fourteen letters and digits (64 bits) for a JSON value, whatever the order of its keys.
 *
 * @internal
 */
export const jsonPrint = (value: unknown): string => print64(canonical(value, 0))

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

const width = 4

// 24 bits as four letters
const entryPrint = (key: string, value: unknown): string => {
  const hash = hash32(`${JSON.stringify(key)}:${canonical(value, 0)}`, 3)
  return alphabet.charAt(hash & 63) + alphabet.charAt((hash >>> 6) & 63) + alphabet.charAt((hash >>> 12) & 63) +
    alphabet.charAt((hash >>> 18) & 63)
}

/**
 * Beyond this many entries an object is remembered as a whole, not entry by entry.
 *
 * @internal
 */
export const maxEntries = 32

const whole = "~"

/**
 * What is remembered of a JSON object so that a later one can be compared with it (`print`): four letters an entry,
 * sorted, or, of an object with very many entries, eight for all of them. And what in it is new or other than what an
 * earlier print remembers (`changed`): all or nothing of it, where either has very many entries, all where there is no
 * earlier print.
 *
 * @internal
 */
export const printInfo = (
  earlier: string | undefined,
  info: JsonObject
): { readonly print: string; readonly changed: JsonObject } => {
  const entries = Object.entries(info)
  if (entries.length > maxEntries) {
    const print = whole + checksum(canonical(info, 0))
    return { print, changed: print === earlier ? {} : info }
  }
  const prints = entries.map(([key, value]) => entryPrint(key, value))
  if (earlier === undefined || earlier.startsWith(whole)) return { print: prints.sort().join(""), changed: info }
  const known = new Set<string>()
  for (let i = 0; i < earlier.length; i += width) known.add(earlier.slice(i, i + width))
  const changed = Object.fromEntries(entries.filter((_, i) => !known.has(prints[i] ?? "")))
  return { print: prints.sort().join(""), changed }
}

/** @internal */
export const infoPrint = (info: JsonObject): string => printInfo(undefined, info).print

/** @internal */
export const isInfoPrint = (text: string): boolean =>
  /^(?:~[0-9a-z]{7}|(?:[A-Za-z0-9_-]{4})*)$/.test(text) && text.length <= maxEntries * width

/**
 * Whether two JSON values are the same, whatever the order of their keys. It may say no of two that are, when they are
 * nested very deep.
 *
 * @internal
 */
export const sameJson = (a: unknown, b: unknown, depth = 0): boolean => {
  if (a === b) return true
  if (depth > maxDepth || typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false
  if (Array.isArray(a) || Array.isArray(b)) {
    if (!Array.isArray(a) || !Array.isArray(b) || a.length !== b.length) return false
    for (let i = 0; i < a.length; i++) {
      if (!sameJson(a[i], b[i], depth + 1)) return false
    }
    return true
  }
  const left = a as JsonObject
  const right = b as JsonObject
  let keys = 0
  for (const key in left) {
    if (!Object.hasOwn(right, key) || !sameJson(left[key], right[key], depth + 1)) return false
    keys++
  }
  for (const _ in right) keys--
  return keys === 0
}
