/**
 * Compares values line by line, and prints their difference.
 *
 * @internal
 */

// `-0` differs from `0`, and `undefined` from a missing field, which JSON cannot express.
const atom = (value: unknown): string | undefined => {
  switch (typeof value) {
    case "string":
      return JSON.stringify(value)
    case "number":
      return Object.is(value, -0) ? "-0" : String(value)
    case "bigint":
      return `${value}n`
    case "function":
      return `[function ${value.name}]`
    case "object":
      return value === null ? "null" : undefined
    default:
      return String(value)
  }
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
export const lines = (value: unknown): ReadonlyArray<string> => {
  const out: Array<string> = []
  const write = (value: unknown, indent: string, before: string, after: string, above: ReadonlyArray<object>): void => {
    const known = atom(value)
    if (known !== undefined) return void out.push(indent + before + known + after)
    const object = value as object
    if (above.includes(object)) return void out.push(`${indent}${before}[circular]${after}`)
    const name = nameOf(object)
    const content = contentOf(object)
    const inside = [...above, object]
    if (content !== object) return write(content, indent, before + name, after, inside)
    const [open, close] = Array.isArray(object) ? ["[", "]"] : ["{", "}"]
    const at = out.length
    out.push(indent + before + name + open)
    if (Array.isArray(object)) {
      for (let i = 0; i < object.length; i++) {
        if (i in object) write(object[i], `${indent}  `, "", ",", inside)
        else out.push(`${indent}  [nothing],`)
      }
    } else {
      for (const key of Object.keys(object).sort()) {
        write(object[key as keyof typeof object], `${indent}  `, `${JSON.stringify(key)}: `, ",", inside)
      }
    }
    if (out.length === at + 1) out[at] += close + after
    else out.push(indent + close + after)
  }
  write(value, "", "", "", [])
  return out
}

/**
 * Returns a value on one line.
 *
 * @internal
 */
export const inline = (value: unknown): string =>
  lines(value).map((line) => line.trim()).join(" ").replace(/,(?= [}\]])/g, "")

/**
 * Whether two values have the same lines: every difference is one that is shown.
 *
 * @internal
 */
export const same = (actual: unknown, expected: unknown): boolean => {
  if (Object.is(actual, expected)) return true
  const a = lines(actual)
  const b = lines(expected)
  return a.length === b.length && a.every((line, i) => line === b[i])
}

// Unchanged lines around a change.
const context = 3
// Shorter runs of unchanged lines are shown in full.
const leastHidden = 4
// Larger texts are not aligned: the table would take too much memory.
const maxCells = 4_000_000

interface Line {
  readonly sign: " " | "-" | "+"
  readonly text: string
}

/** Aligns the longest common sequence of lines. */
const align = (expected: ReadonlyArray<string>, actual: ReadonlyArray<string>): Array<Line> => {
  const rows = expected.length
  const columns = actual.length
  const out: Array<Line> = []
  let i = 0
  let j = 0
  if (rows * columns <= maxCells) {
    // best[i][j]: the number of common lines from i and from j on
    const best = Array.from({ length: rows + 1 }, () => new Uint32Array(columns + 1))
    const at = (i: number, j: number): number => best[i]![j]!
    for (let i = rows - 1; i >= 0; i--) {
      for (let j = columns - 1; j >= 0; j--) {
        best[i]![j] = expected[i] === actual[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1))
      }
    }
    while (i < rows && j < columns) {
      if (expected[i] === actual[j]) {
        out.push({ sign: " ", text: expected[i++]! })
        j++
      } else if (at(i + 1, j) >= at(i, j + 1)) out.push({ sign: "-", text: expected[i++]! })
      else out.push({ sign: "+", text: actual[j++]! })
    }
  }
  while (i < rows) out.push({ sign: "-", text: expected[i++]! })
  while (j < columns) out.push({ sign: "+", text: actual[j++]! })
  return out
}

/**
 * Returns the lines to remove from `expected` (`-`) and to add (`+`) to get `actual`, or an empty string if they are
 * equal. Long runs of unchanged lines are shortened.
 *
 * @internal
 */
export const diffLines = (expected: ReadonlyArray<string>, actual: ReadonlyArray<string>): string => {
  const shorter = Math.min(expected.length, actual.length)
  let head = 0
  while (head < shorter && expected[head] === actual[head]) head++
  if (head === expected.length && head === actual.length) return ""
  let tail = 0
  while (tail < shorter - head && expected.at(-1 - tail) === actual.at(-1 - tail)) tail++
  const unchanged = (lines: ReadonlyArray<string>) => lines.map((text): Line => ({ sign: " ", text }))
  const all = [
    ...unchanged(expected.slice(0, head)),
    ...align(expected.slice(head, expected.length - tail), actual.slice(head, actual.length - tail)),
    ...unchanged(expected.slice(expected.length - tail))
  ]
  const out: Array<string> = []
  for (let from = 0, to = 0; from < all.length; from = to) {
    while (to < all.length && all[to]!.sign === " ") to++
    const shown = all.slice(from, to).map(({ text }) => `  ${text}`)
    const first = from === 0 ? 0 : context
    const last = to === all.length ? shown.length : shown.length - context
    if (last - first >= leastHidden) shown.splice(first, last - first, `  … ${last - first} lines alike`)
    for (const line of shown) out.push(line)
    for (; to < all.length && all[to]!.sign !== " "; to++) out.push(`${all[to]!.sign} ${all[to]!.text}`)
  }
  return out.join("\n")
}
