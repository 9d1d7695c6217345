/**
 * The stream of all jobs to a page of the board. A page that connects again receives everything again, so nothing is kept
 * for it; one that is slow receives the latest of each job.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { format } from "../../model/Job.js"
import { forkScoped } from "../../queue/internal/fiber.js"
import type { Jobs, Page } from "./boardJobs.js"
import { encodeText, writeEvent } from "./encoder.js"
import type { Output } from "./output.js"
import { retryField } from "./response.js"

// what changes within this time is sent together
const pause = "100 millis"

// a page takes a stream for dead if it receives nothing for longer
const clockInterval = "10 seconds"

const eventOf = (name: string, json: string): Uint8Array => encodeText(writeEvent(name, json))

/** The event that reports a job that the page cannot add. @internal */
export const refusal = (job: string, message: string): Uint8Array =>
  eventOf("refused", JSON.stringify({ job, message }))

/** Writes the jobs of a board to a page, without end. `begin` runs before the first jobs are sent. @internal */
export const writeTo = (output: Output, jobs: Jobs, begin: Effect.Effect<void>): Effect.Effect<void> =>
  Effect.scoped(Effect.gen(function*() {
    const page: Page = { changed: new Set(jobs.all), removed: new Set(), news: yield* Effect.makeLatch() }
    const { changed, news, removed } = page
    yield* Effect.acquireRelease(
      Effect.sync(() => jobs.pages.add(page)),
      () => Effect.sync(() => jobs.pages.delete(page))
    )
    const send = Effect.map(Clock.currentTimeMillis, (now) => {
      if (removed.size > 0) {
        output.write(eventOf("removed", JSON.stringify(Array.from(removed, ({ job }) => format(job)))))
      }
      if (changed.size > 0) output.write(eventOf("jobs", `[${Array.from(changed, ({ json }) => json)}]`))
      // the end of a batch; the page corrects its clock by it
      output.write(eventOf("clock", JSON.stringify({ now, hidden: jobs.hidden })))
      removed.clear()
      changed.clear()
    })
    output.write(encodeText(yield* retryField))
    yield* begin
    yield* send
    yield* Effect.schedule(news.open, Schedule.spaced(clockInterval)).pipe(forkScoped)
    return yield* news.await.pipe(
      Effect.zipRight(news.close),
      Effect.zipRight(Effect.sleep(pause)),
      Effect.zipRight(Effect.suspend(() => output.room)),
      Effect.zipRight(send),
      Effect.forever
    )
  }))
