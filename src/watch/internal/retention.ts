/**
 * Values of jobs that are no longer watched, each kept until a time of its own, and no more than `maxSize` of them.
 */
import { keyOf } from "../../model/internal/jobKey.js"
import type { JobRef } from "../../model/Job.js"

interface Retained<A> {
  readonly value: A
  readonly until: number
}

/** @internal */
export class Retention<A> {
  private readonly entries = new Map<string, Retained<A>>()
  /** Goes on from one call to the next: another iterator would first pass over all that was deleted before. */
  private scan = this.entries.entries()
  /** What `scan` found last: the oldest entry, unless it was taken or replaced since. */
  private oldest: readonly [key: string, entry: Retained<A>] | undefined = undefined

  constructor(private readonly maxSize: number) {}

  get(job: JobRef, now: number): A | undefined {
    const entry = this.entries.get(keyOf(job))
    return entry !== undefined && entry.until > now ? entry.value : undefined
  }

  /** Returns the value and forgets it. */
  take(job: JobRef, now: number): A | undefined {
    const value = this.get(job, now)
    this.entries.delete(keyOf(job))
    return value
  }

  set(job: JobRef, value: A, until: number, now: number): void {
    if (until <= now) return
    const key = keyOf(job)
    this.entries.delete(key)
    this.entries.set(key, { value, until })
    this.dropOldest(now)
  }

  /** Drops the oldest entries while there are too many, or while their time has passed. There is an entry whose has not. */
  private dropOldest(now: number): void {
    for (;;) {
      const [key, entry] = this.oldest ??= this.findOldest()
      if (this.entries.get(key) === entry) {
        if (this.entries.size <= this.maxSize && entry.until > now) return
        this.entries.delete(key)
      }
      this.oldest = undefined
    }
  }

  private findOldest(): readonly [string, Retained<A>] {
    const next = this.scan.next()
    if (next.done !== true) return next.value
    this.scan = this.entries.entries()
    return this.findOldest()
  }

  /** The values that are kept, oldest first. */
  all(now: number): ReadonlyArray<A> {
    return Array.from(this.entries.values()).filter(({ until }) => until > now).map(({ value }) => value)
  }

  clear(): void {
    this.entries.clear()
    this.oldest = undefined
  }
}
