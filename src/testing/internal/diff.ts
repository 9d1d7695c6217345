/**
 * Two values that should be the same, side by side as lines.
 *
 * @internal
 */

// What has no other notation in JSON: told apart, because a matcher that takes `-0` for `0`, or a field that is not
// there for one that is `undefined`, passes what it should not.
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

// The name of a class stands before what its instances hold; a plain object has none.
const nameOf = (value: object): string => {
  const name: unknown = (Object.getPrototypeOf(value) as object | null)?.constructor?.name
  return typeof name !== "string" || name === "Object" || name === "Array" ? "" : `${name} `
}

const holds = (value: object): unknown => {
  if (value instanceof Map || value instanceof Set) return Array.from(value)
  return "toJSON" in value && typeof value.toJSON === "function" ? value.toJSON() : value
}

const nothing: ReadonlyArray<object> = []

/**
 * A value as the lines of its JSON, the keys of objects in one order, every entry followed by a comma: what differs in
 * one place differs in the lines of that place alone.
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
    const held = holds(object)
    const inside = [...above, object]
    if (held !== object) return write(held, indent, before + name, after, inside)
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
        write(
          (object as { readonly [key: string]: unknown })[key],
          `${indent}  `,
          `${JSON.stringify(key)}: `,
          ",",
          inside
        )
      }
    }
    if (out.length === at + 1) out[at] += close + after
    else out.push(indent + close + after)
  }
  write(value, "", "", "", nothing)
  return out
}

/**
 * The same on one line, for a log.
 *
 * @internal
 */
export const inline = (value: unknown): string =>
  lines(value).map((line) => line.trim()).join(" ").replace(/,(?= [}\]])/g, "")

/**
 * Whether two values are the same, down to the last key: they are written in the same lines. What is compared is what is
 * shown; values that are not the same never look it.
 *
 * @internal
 */
export const same = (actual: unknown, expected: unknown): boolean => {
  if (Object.is(actual, expected)) return true
  const a = lines(actual)
  const b = lines(expected)
  return a.length === b.length && a.every((line, i) => line === b[i])
}

// How many unchanged lines are shown around a change; how many must be left out for the remark that they are; and how
// large a table is worth its memory.
const context = 3
const leastHidden = 4
const maxCells = 4_000_000

interface Line {
  readonly sign: " " | "-" | "+"
  readonly text: string
}

/** The longest common lines of the two, and between them what only one has. */
const align = (expected: ReadonlyArray<string>, actual: ReadonlyArray<string>): Array<Line> => {
  const rows = expected.length
  const columns = actual.length
  const out: Array<Line> = []
  let i = 0
  let j = 0
  if (rows * columns <= maxCells) {
    // best[i][j]: how many lines the ends from i and from j on have in common
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
 * What must be taken from the one (`-`) and added (`+`) to get the other. Of long runs without a change, only the ends
 * are shown. Nothing, where there is no difference.
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
  for (let from = 0; from < all.length;) {
    if (all[from]!.sign !== " ") {
      const { sign, text } = all[from++]!
      out.push(`${sign} ${text}`)
      continue
    }
    let to = from
    while (to < all.length && all[to]!.sign === " ") to++
    const first = from === 0 ? from : Math.min(to, from + context)
    const last = to === all.length ? to : Math.max(first, to - context)
    const hidden = last - first >= leastHidden ? last - first : 0
    for (let i = from; i < to; i++) {
      if (hidden > 0 && i === first) out.push(`  … ${hidden} lines alike`)
      if (hidden === 0 || i < first || i >= last) out.push(`  ${all[i]!.text}`)
    }
    from = to
  }
  return out.join("\n")
}
