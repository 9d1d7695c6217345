import { keyOf } from "../../model/internal/jobKey.js"
import type { JobRef, JobStatus } from "../../model/Job.js"

/** A job, its prepared request, and its last response: the text of the body, and the snapshot. @internal */
export interface Entry<Request> {
  readonly job: JobRef
  readonly request: Request
  text: string | undefined
  status: JobStatus | undefined
  /** Whether the last response was so large that compression pays. */
  isLarge: boolean
  /** Whether the entry was used since the last eviction scan. */
  isUsed: boolean
}

// The size of an entry without its text: the snapshot and the request.
const overhead = 1024

// A longer text is not kept: it would take the place of many others.
const longestText = 256 * 1024

const large = 16 * 1024

/**
 * A cache of jobs, up to `maxSize` letters. Evicts entries that were not used for a whole round of the eviction scan.
 *
 * @internal
 */
export class ResponseCache<Request> {
  private readonly entries = new Map<string, Entry<Request>>()
  private scan = this.entries.entries()
  private size = 0

  constructor(private readonly maxSize: number) {}

  /** Returns the entry of a job. Accepts any value, and finds only valid jobs, as only those are added. */
  find(job: JobRef): Entry<Request> | undefined {
    if (typeof job?.model !== "string" || typeof job.requestId !== "string") return undefined
    const entry = this.entries.get(keyOf(job))
    if (entry !== undefined) entry.isUsed = true
    return entry
  }

  set(entry: Entry<Request>, text: string, status: JobStatus): void {
    const key = keyOf(entry.job)
    const before = this.entries.get(key)
    if (before !== undefined) this.size -= sizeOf(before)
    const isKept = text.length <= longestText
    entry.text = isKept ? text : undefined
    entry.status = isKept ? status : undefined
    entry.isLarge = text.length > large
    if (before !== entry) this.entries.set(key, entry)
    this.size += sizeOf(entry)
    while (this.size > this.maxSize) this.evict()
  }

  private evict(): void {
    for (;;) {
      const next = this.scan.next()
      if (next.done === true) {
        this.scan = this.entries.entries()
      } else if (next.value[1].isUsed) {
        next.value[1].isUsed = false
      } else {
        this.entries.delete(next.value[0])
        this.size -= sizeOf(next.value[1])
        return
      }
    }
  }
}

const sizeOf = ({ text = "" }: Entry<unknown>): number => overhead + text.length
