import type { JobRef } from "../Job.js"

/**
 * A text that is different for each job: the length shows where the model ends.
 *
 * @internal
 */
export const keyOf = ({ model, requestId }: JobRef): string => `${model.length} ${model}${requestId}`
