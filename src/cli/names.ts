/**
 * Short names for jobs, to tell them apart on a screen.
 *
 * @internal
 */
import type { JobRef } from "../model/Job.js"
import { printable } from "./text.js"

const ending = (text: string, length: number): string => text.length <= length ? text : `…${text.slice(-length)}`

/**
 * The end of the model's name and of the request id: the beginning of a UUIDv7 is the time, which many jobs share.
 *
 * @internal
 */
export const shortNameOf = ({ model, requestId }: JobRef): string =>
  printable(`${ending(model.slice(model.lastIndexOf("/") + 1), 24)} ${ending(requestId, 8)}`)
