/** Compares values line by line, and prints their difference. @internal */
import * as Arr from "effect/Array"
import * as Equivalence from "effect/Equivalence"
import * as Iterable from "effect/Iterable"

type Lines = ReadonlyArray<string>

// `-0` differs from `0`, and `undefined` from a missing field, which JSON cannot express.
const atom = (value: unknown): string => {
  if (typeof value === "string") return JSON.stringify(value)
  if (typeof value === "bigint") return `${value}n`
  if (typeof value === "function") return `[function ${value.name}]`
  return Object.is(value, -0) ? "-0" : String(value)
}

// The name of the class of an instance; plain objects and arrays have none.
const nameOf = (value: object): string => {
  const name: unknown = (Object.getPrototypeOf(value) as object | null)?.constructor?.name
  return typeof name !== "string" || name === "Object" || name === "Array" ? "" : `${name} `
}

const contentOf = (value: object): unknown => {
  if (value instanceof Map || value instanceof Set) return Array.from(value)
  return "toJSON" in value && typeof value.toJSON === "function" ? value.toJSON() : value
}

/**
 * Returns a value as lines of JSON, with sorted keys and a comma after every entry: values that differ in one place differ
 * in the lines of that place alone.
 *
 * @internal
 */
export const lines = (value: unknown, above: ReadonlyArray<object> = []): Lines => {
  if (typeof value !== "object" || value === null) return [atom(value)]
  if (above.includes(value)) return ["[circular]"]
  const inside = [...above, value]
  const name = nameOf(value)
  const content = contentOf(value)
  if (content !== value) return prefixed(name, lines(content, inside))
  const [open, close] = Array.isArray(value) ? ["[", "]"] : ["{", "}"]
  const entries = Array.isArray(value)
    ? Array.from(value, (entry, i) => i in value ? lines(entry, inside) : ["[nothing]"])
    : Object.keys(value).sort().map((key) =>
      prefixed(`${JSON.stringify(key)}: `, lines(value[key as keyof typeof value], inside))
    )
  return entries.length === 0 ? [name + open + close] : [
    name + open,
    ...entries.flatMap((entry) => entry.map((line, i) => `  ${line}${i === entry.length - 1 ? "," : ""}`)),
    close
  ]
}

const prefixed = (prefix: string, [first = "", ...rest]: Lines): Lines => [prefix + first, ...rest]

/** Returns a value on one line. @internal */
export const inline = (value: unknown): string =>
  lines(value).map((line) => line.trim()).join(" ").replace(/,(?= [}\]])/g, "")

/** Whether two values have the same lines: every difference is one that is shown. @internal */
export const same = (actual: unknown, expected: unknown): boolean =>
  Object.is(actual, expected) || lines(actual).join("\n") === lines(expected).join("\n")

// Unchanged lines around a change.
const context = 3
// Shorter runs of unchanged lines are shown in full.
const leastHidden = 4
// Larger texts are not aligned: the table would take too much memory.
const maxCells = 4_000_000

const unchanged = (line: string): string => `  ${line}`
const removed = (line: string): string => `- ${line}`
const added = (line: string): string => `+ ${line}`

/** Aligns the longest common sequence of lines, each with its sign. */
const align = (expected: Lines, actual: Lines): Lines => {
  if (expected.length * actual.length > maxCells) return [...expected.map(removed), ...actual.map(added)]
  // best[i][j]: the number of common lines from i and from j on
  const best = Array.from({ length: expected.length + 1 }, () => new Uint32Array(actual.length + 1))
  const at = (i: number, j: number): number => best[i]![j]!
  for (let i = expected.length - 1; i >= 0; i--) {
    for (let j = actual.length - 1; j >= 0; j--) {
      best[i]![j] = expected[i] === actual[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1))
    }
  }
  const out: Array<string> = []
  let i = 0
  let j = 0
  while (i < expected.length && j < actual.length) {
    if (expected[i] === actual[j]) {
      out.push(unchanged(expected[i++]!))
      j++
    } else if (at(i + 1, j) >= at(i, j + 1)) out.push(removed(expected[i++]!))
    else out.push(added(actual[j++]!))
  }
  return [...out, ...expected.slice(i).map(removed), ...actual.slice(j).map(added)]
}

const isEqual = Arr.getEquivalence(Equivalence.string)

/**
 * Returns the lines to remove from `expected` (`-`) and to add (`+`) to get `actual`, or an empty string if they are
 * equal. Long runs of unchanged lines are shortened.
 *
 * @internal
 */
export const diffLines = (expected: Lines, actual: Lines): string => {
  if (isEqual(expected, actual)) return ""
  const all = align(expected, actual)
  const isFar = (i: number): boolean =>
    all.slice(Math.max(0, i - context), i + context + 1).every((line) => line.startsWith(" "))
  const marked = all.map((line, i) => ({ line, isFar: isFar(i) }))
  return Array.from(Iterable.groupWith(marked, (a, b) => a.isFar === b.isFar)).flatMap((run) =>
    run[0].isFar && run.length >= leastHidden ? `  … ${run.length} lines alike` : run.map(({ line }) => line)
  ).join("\n")
}
