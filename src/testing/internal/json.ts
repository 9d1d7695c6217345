import type { JsonObject } from "../../model/Job.js"
import type { Update } from "./queueModel.js"

const copy = (object: JsonObject): JsonObject => {
  // an object comes back as an object
  for (const _ in object) return JSON.parse(JSON.stringify(object)) as JsonObject
  return object
}

/**
 * What arrives of what a worker says: a copy, of what JSON can say. A queue that kept the object itself would tell more
 * than any service, and change with it.
 *
 * @internal
 */
export const overTheWire = (update: Update): Update => ({
  ...update,
  ...(update.info !== undefined && { info: copy(update.info) }),
  ...(update.outputs !== undefined && { outputs: copy(update.outputs) })
})
