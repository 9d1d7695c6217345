import type * as Undici from "@effect/platform-node/Undici"
import { keyOf } from "../../model/internal/jobKey.js"
import type { JobRef, JobStatus } from "../../model/Job.js"

/**
 * A job, the request for it, and the last answer: what it said, and what it means.
 *
 * @internal
 */
export interface Known {
  readonly job: JobRef
  readonly request: Undici.Dispatcher.DispatchOptions
  body: Uint8Array | undefined
  status: JobStatus | undefined
  /** Asked for since it was last looked at with an eye to forgetting it. */
  isWanted: boolean
}

// What an entry takes beside its body: the snapshot and the request.
const overhead = 1024

// A larger one is that of a job that has ended, most likely, for which nobody asks again.
const largestBody = 256 * 1024

/**
 * The jobs that were asked for, up to so many bytes. Then those go that were not asked for in a round of all.
 *
 * @internal
 */
export class Memory {
  private readonly jobs = new Map<string, Known>()
  private hand = this.jobs.entries()
  private size = 0

  constructor(private readonly maxBytes: number) {}

  /** Whatever it is asked for, only a job that was remembered is found. */
  find(job: JobRef): Known | undefined {
    if (typeof job?.model !== "string" || typeof job.requestId !== "string") return undefined
    const known = this.jobs.get(keyOf(job))
    if (known !== undefined) known.isWanted = true
    return known
  }

  remember(known: Known, body: Uint8Array, status: JobStatus): void {
    const key = keyOf(known.job)
    const before = this.jobs.get(key)
    if (before !== undefined) this.size -= sizeOf(before)
    known.body = body
    known.status = status
    if (body.length > largestBody) {
      this.jobs.delete(key)
      return
    }
    if (before !== known) this.jobs.set(key, known)
    this.size += sizeOf(known)
    while (this.size > this.maxBytes) this.forgetOne()
  }

  private forgetOne(): void {
    for (;;) {
      const next = this.hand.next()
      if (next.done === true) {
        this.hand = this.jobs.entries()
      } else if (next.value[1].isWanted) {
        next.value[1].isWanted = false
      } else {
        this.jobs.delete(next.value[0])
        this.size -= sizeOf(next.value[1])
        return
      }
    }
  }
}

// A body is a view of what came over the socket, all of which it keeps.
const sizeOf = ({ body }: Known): number => overhead + (body?.buffer.byteLength ?? 0)
