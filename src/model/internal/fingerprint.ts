import type { JobRef, JsonObject } from "../Job.js"

// FNV-1a over UTF-16 code units, with the finalizer of MurmurHash3. Not from a dependency: cursors outlive a process
// and a version, and a changed hash would invalidate them.
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

// 64 bits. Joined, not concatenated: a concatenated string keeps its parts, at three times the memory, until it is
// read.
const print64 = (text: string): string => [base36(hash32(text, 1)), base36(hash32(text, 2))].join("")

/** Returns a hash of a text: seven letters and digits. @internal */
export const checksum = (text: string): string => base36(hash32(text, 0))

/** Returns a hash of a job: fourteen letters and digits (64 bits). @internal */
export const jobPrint = (job: JobRef): string => print64(JSON.stringify([job.model, job.requestId]))

// Deeper values are ignored: a document may be nested deeper than the stack.
const maxDepth = 64

// Returns the same text for equal JSON values, in any order of keys.
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
 * Returns a hash of a JSON value, independent of the order of keys: fourteen letters and digits (64 bits).
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

/** An object with more entries is hashed as a whole, not entry by entry. @internal */
export const maxEntries = 32

const whole = "~"

/**
 * Returns a digest of a JSON object (`print`): four letters an entry, sorted, or, with more than `maxEntries` entries,
 * eight characters for the whole. Also returns the entries that are new or have changed since an earlier digest
 * (`changed`): all of them without one, and all or none if either has more than `maxEntries` entries.
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
 * Returns whether two JSON values are equal, in any order of keys. May return `false` for equal values that are nested
 * very deep.
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
