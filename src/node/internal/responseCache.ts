import type * as Undici from "@effect/platform-node/Undici"
import { keyOf } from "../../model/internal/jobKey.js"
import type { JobRef, JobStatus } from "../../model/Job.js"

/**
 * A job, its request, and its last response: the body and the snapshot.
 *
 * @internal
 */
export interface Known {
  readonly job: JobRef
  readonly request: Undici.Dispatcher.DispatchOptions
  body: Uint8Array | undefined
  status: JobStatus | undefined
  /** Whether the entry was used since the last eviction scan. */
  isWanted: boolean
}

// The size of an entry without its body: the snapshot and the request.
const overhead = 1024

// A larger body most likely belongs to a job that has ended and is not requested again.
const largestBody = 256 * 1024

/**
 * A cache of jobs, up to `maxBytes`. Evicts entries that were not used for a whole round of the eviction scan.
 *
 * @internal
 */
export class Memory {
  private readonly jobs = new Map<string, Known>()
  private hand = this.jobs.entries()
  private size = 0

  constructor(private readonly maxBytes: number) {}

  /** Returns the entry of a job. Accepts any value, and finds only valid jobs, as only those are added. */
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

// A body is a view of the socket's buffer, and retains all of it.
const sizeOf = ({ body }: Known): number => overhead + (body?.buffer.byteLength ?? 0)
