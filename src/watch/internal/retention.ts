/**
 * Values of jobs that are no longer watched, each kept until a time of its own, and no more than `maxSize` of them.
 */
import { keyOf } from "../../model/internal/jobKey.js"
import type { JobRef } from "../../model/Job.js"

/** @internal */
export interface Retained<A> {
  readonly value: A
  readonly until: number
}

/** @internal */
export class Retention<A> {
  private readonly entries = new Map<string, Retained<A>>()

  constructor(private readonly maxSize: number) {}

  get(job: JobRef, now: number): A | undefined {
    const entry = this.entries.get(keyOf(job))
    return entry !== undefined && entry.until > now ? entry.value : undefined
  }

  /** Returns the value and forgets it. */
  take(job: JobRef, now: number): Retained<A> | undefined {
    const key = keyOf(job)
    const entry = this.entries.get(key)
    this.entries.delete(key)
    return entry !== undefined && entry.until > now ? entry : undefined
  }

  set(job: JobRef, value: A, until: number, now: number): void {
    if (until <= now) return
    this.entries.set(keyOf(job), { value, until })
    for (const [key, oldest] of this.entries) {
      if (this.entries.size <= this.maxSize && oldest.until > now) return
      this.entries.delete(key)
    }
  }

  /** The values that are kept, oldest first. */
  all(now: number): ReadonlyArray<A> {
    return Array.from(this.entries.values()).filter(({ until }) => until > now).map(({ value }) => value)
  }

  clear(): void {
    this.entries.clear()
  }
}
