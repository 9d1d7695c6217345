import type { JobRef } from "../Job.js"

/**
 * Returns a text that is unique to a job: the length marks where the model ends.
 *
 * @internal
 */
export const keyOf = ({ model, requestId }: JobRef): string => `${model.length} ${model}${requestId}`
