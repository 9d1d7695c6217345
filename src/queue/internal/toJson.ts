import * as Effect from "effect/Effect"
import * as Either from "effect/Either"

class NotJson {
  constructor(readonly what: string) {}
}

const refuse = (what: string): never => {
  throw new NotJson(`${what} cannot be represented in JSON`)
}

// Ends a recursive walk before the stack overflows.
const maxLevels = 1_000

// Iterators and namespaces have their own tag, and instances have a class. Anything else is data, whatever realm or
// library its prototype comes from.
const isPlain = (value: object): boolean => {
  if (Object.prototype.toString.call(value) !== "[object Object]") return false
  for (let proto = Object.getPrototypeOf(value); proto !== null;) {
    const parent = Object.getPrototypeOf(proto)
    if (parent !== null && Object.hasOwn(proto, "constructor")) return false
    proto = parent
  }
  return true
}

const describeInstance = (value: object): string => {
  const { constructor } = value
  return typeof constructor === "function" && constructor.name !== ""
    ? `an instance of ${constructor.name}`
    : "an instance of a class"
}

const identifier = /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u

const formatPath = (path: ReadonlyArray<string | number>): string => {
  const steps = path.map((key) =>
    typeof key === "string" && identifier.test(key) ? `.${key}` : `[${JSON.stringify(key)}]`
  )
  return steps.length <= 20 ? steps.join("") : [...steps.slice(0, 10), "…", ...steps.slice(-10)].join("")
}

/**
 * Copies a value as JSON represents it, or returns the path and the kind of the first part that JSON would lose. Like
 * `JSON.stringify`, it omits properties that are `undefined`, and respects `toJSON`.
 *
 * @internal
 */
export const toJson = (value: unknown, name: string): Either.Either<unknown, string> => {
  // not restored when an error is thrown: it is the path to the error
  const path: Array<string | number> = []
  const ancestors = new Set<object>()

  const part = (key: string | number, value: unknown): unknown => {
    path.push(key)
    const copied = copy(value)
    // `JSON.stringify` would write an element as null
    if (copied === undefined && typeof key === "number") return refuse("undefined")
    path.pop()
    return copied
  }

  const copy = (value: unknown): unknown => {
    switch (typeof value) {
      case "string":
      case "boolean":
      case "undefined":
        return value
      case "number":
        // JSON has no -0
        return Number.isFinite(value) ? value + 0 : refuse(String(value))
      case "object":
        return value === null ? value : copyObject(value)
      default:
        return refuse(`a ${typeof value}`)
    }
  }

  const copyObject = (value: object): unknown => {
    // both have a `toJSON` that does not represent their value
    if (Effect.isEffect(value)) return refuse("an Effect")
    if (value instanceof Date && Number.isNaN(value.getTime())) return refuse("an invalid Date")
    if (ancestors.has(value)) return refuse("a cycle")
    if (ancestors.size === maxLevels) return refuse(`a nesting of more than ${maxLevels} levels`)
    ancestors.add(value)
    const copied = copyParts(value)
    ancestors.delete(value)
    return copied
  }

  const copyParts = (value: object): unknown => {
    if ("toJSON" in value && typeof value.toJSON === "function") return copy(value.toJSON(String(path.at(-1) ?? "")))
    // not `map`, which skips holes
    if (Array.isArray(value)) return Array.from(value, (element, index) => part(index, element))
    if (!isPlain(value)) return refuse(describeInstance(value))
    return Object.fromEntries(
      Object.entries(value).map(([key, entry]) => [key, part(key, entry)]).filter(([, entry]) => entry !== undefined)
    )
  }

  try {
    return Either.right(copy(value))
  } catch (cause) {
    const what = cause instanceof NotJson ? cause.what : "it throws when it is read"
    return Either.left(`${name}${formatPath(path)}: ${what}`)
  }
}
