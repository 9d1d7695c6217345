import type { JobRef } from "../Job.js"

/** Returns a text that is unique to a job: the length marks where the model ends. @internal */
export const keyOf = ({ model, requestId }: JobRef): string => `${model.length} ${model}${requestId}`

/** Whether two references are of the same job, whether or not they compare by value. @internal */
export const isSameJob = (a: JobRef, b: JobRef): boolean => a.requestId === b.requestId && a.model === b.model
