import * as Option from "effect/Option"
import { parseDate } from "./retryAfter.js"

/** How far the clock of a service is ahead of ours, by the `Date` of its responses. @internal */
export class ServerClock {
  private date: string | undefined = undefined
  /** In milliseconds; 0 while it is not known to differ. */
  ahead = 0

  /** The `Date` of a response, unless it is that of the one before, or an old one: a cached response has an `Age`. */
  newDate({ age, date }: { readonly [name: string]: unknown }): string | undefined {
    return typeof date === "string" && date !== this.date && age === undefined ? date : undefined
  }

  /** Takes a `Date` that arrived now. It has whole seconds: up to one second is no difference. */
  set(date: string, now: number): void {
    this.date = date
    const sentAt = Option.getOrUndefined(parseDate(date))
    if (sentAt !== undefined) this.ahead = sentAt > now ? sentAt - now : Math.min(0, sentAt + 999 - now)
  }
}
