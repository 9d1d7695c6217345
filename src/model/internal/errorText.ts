// The fields of an error that hold its text, the most specific first.
const textFields = ["message", "msg", "detail", "details", "reason", "error", "description", "title"]

const maxLength = 500
const maxDepth = 5
const maxEntries = 10

const clip = (text: string): string => text.length > maxLength ? `${text.slice(0, maxLength)}…` : text

/**
 * Returns the error text in a JSON value, or `undefined` if there is none. `Job.failureReason` documents the rules.
 *
 * @internal
 */
export const errorText = (value: unknown, depth = 0): string | undefined => {
  if (value === undefined || value === null || value === false) return undefined
  if (typeof value === "string") return value.trim() === "" ? undefined : value
  if (typeof value !== "object") return String(value)
  if (depth === maxDepth) return compactJson(value)
  if (Array.isArray(value)) {
    const texts = value.slice(0, maxEntries).flatMap((entry) => errorText(entry, depth + 1) ?? [])
    return texts.length === 0 ? undefined : clip(texts.join("; "))
  }
  const fields = value as { readonly [key: string]: unknown }
  for (const field of textFields) {
    const text = errorText(fields[field], depth + 1)
    if (text !== undefined) return text
  }
  return Object.values(fields).some((entry) => errorText(entry, depth + 1) !== undefined)
    ? compactJson(value)
    : undefined
}

// Stops at the length that is shown: outputs may be large, and nested deeper than the stack.
const compactJson = (value: unknown): string => {
  let text = ""
  const write = (value: unknown): void => {
    if (typeof value === "string") text += JSON.stringify(clip(value))
    else if (typeof value !== "object" || value === null) text += String(value)
    else {
      const isArray = Array.isArray(value)
      let separator = isArray ? "[" : "{"
      for (const [key, entry] of Object.entries(value)) {
        if (text.length > maxLength) return
        text += isArray ? separator : `${separator}${JSON.stringify(clip(key))}:`
        separator = ","
        write(entry)
      }
      if (separator !== ",") text += separator
      text += isArray ? "]" : "}"
    }
  }
  write(value)
  return clip(text)
}
