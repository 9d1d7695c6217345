/**
 * As much of JSON Schema as the OpenAPI document of the queue uses, so that answers can be held against it. A word of
 * the schema language that is not known here is an error: nothing passes for want of being looked at.
 */
import { assert } from "@effect/vitest"

type Json = { readonly [key: string]: unknown }

const isObject = (u: unknown): u is Json => typeof u === "object" && u !== null && !Array.isArray(u)

const typeOf = (value: unknown): string =>
  value === null ? "null" : Array.isArray(value) ? "array" : Number.isInteger(value) ? "integer" : typeof value

const dateTime = /^\d{4}-(0\d|1[0-2])-([0-2]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?(Z|[+-]\d{2}:\d{2})$/

const formats: { readonly [name: string]: RegExp } = { "date-time": dateTime }

const validators: {
  readonly [word: string]: (rule: any, value: any, at: string, document: Json, schema: Json) => Array<string>
} = {
  description: () => [],
  title: () => [],
  examples: () => [],
  type: (type, value, at) =>
    typeOf(value) === type || (type === "number" && typeof value === "number")
      ? []
      : [`${at}: ${type} expected, not ${typeOf(value)}`],
  $ref: (pointer, value, at, document) => validate(document, resolve(document, pointer), value, at),
  anyOf: (schemas: ReadonlyArray<unknown>, value, at, document) => {
    const issues = schemas.map((schema) => validate(document, schema, value, at))
    return issues.some(({ length }) => length === 0) ? [] : issues.flat()
  },
  enum: (values: ReadonlyArray<unknown>, value, at) =>
    values.includes(value) ? [] : [`${at}: ${JSON.stringify(value)} is none of ${JSON.stringify(values)}`],
  pattern: (pattern, value, at) =>
    typeof value !== "string" || new RegExp(pattern, "u").test(value) ? [] : [`${at}: does not match ${pattern}`],
  format: (format, value, at) => {
    const expected = formats[format]
    if (expected === undefined) return assert.fail(`the format ${format} is not known here`)
    return typeof value !== "string" || expected.test(value) ? [] : [`${at}: no ${format}`]
  },
  minLength: (min, value, at) => typeof value !== "string" || value.length >= min ? [] : [`${at}: shorter than ${min}`],
  minimum: (min, value, at) => typeof value !== "number" || value >= min ? [] : [`${at}: less than ${min}`],
  items: (schema, value, at, document) =>
    Array.isArray(value) ? value.flatMap((item, i) => validate(document, schema, item, `${at}[${i}]`)) : [],
  required: (names: ReadonlyArray<string>, value, at) =>
    isObject(value)
      ? names.filter((name) => !Object.hasOwn(value, name)).map((name) => `${at}.${name}: missing`)
      : [],
  properties: (properties: Json, value, at, document) =>
    isObject(value)
      ? Object.keys(properties).filter((name) => Object.hasOwn(value, name)).flatMap((name) =>
        validate(document, properties[name], value[name], `${at}.${name}`)
      )
      : [],
  additionalProperties: (allowed, value, at, _document, schema) =>
    allowed === true || !isObject(value)
      ? []
      : Object.keys(value).filter((name) => !Object.hasOwn((schema["properties"] ?? {}) as Json, name))
        .map((name) => `${at}.${name}: not allowed`)
}

const resolve = (document: Json, pointer: string): unknown => {
  let found: unknown = document
  for (const key of pointer.replace(/^#\//, "").split("/")) found = isObject(found) ? found[key] : undefined
  return found ?? assert.fail(`the document has no ${pointer}`)
}

/** What is wrong with a value, by a schema of a document. */
export const validate = (document: Json, schema: unknown, value: unknown, at = "body"): Array<string> => {
  if (!isObject(schema)) return assert.fail(`${at}: no schema: ${JSON.stringify(schema)}`)
  return Object.entries(schema).flatMap(([word, rule]) => {
    const validator = Object.hasOwn(validators, word) ? validators[word] : undefined
    return validator === undefined
      ? assert.fail(`${at}: the schema uses ${word}, which is not known here`)
      : validator(rule, value, at, document, schema)
  })
}

/** Whether the document has such an operation. */
export const declares = (document: any, method: string, path: string): boolean =>
  document.paths[path]?.[method.toLowerCase()] !== undefined

/** What is wrong with an answer: a status that the document does not have, or a body that is otherwise. */
export const issuesOf = (document: any, method: string, path: string, status: number, body: unknown): Array<string> => {
  const response = document.paths[path]?.[method.toLowerCase()]?.responses[status]
  return response === undefined
    ? [`${method} ${path} declares no ${status}`]
    : validate(document, response.content["application/json"].schema, body)
}
