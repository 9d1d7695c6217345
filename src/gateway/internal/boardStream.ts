/**
 * The stream of all jobs to a page of the board. A page that connects again receives everything again, so nothing is kept
 * for it; one that is slow receives the latest of each job.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import { format } from "../../model/Job.js"
import type { Entry, Jobs } from "./boardJobs.js"
import { ClientBuffer } from "./clientBuffer.js"
import { encodeText } from "./encoder.js"
import { retryField } from "./response.js"

// what changes within this time is sent together
const pause = "100 millis"

// a page takes a stream for dead if it receives nothing for longer
const clockInterval = "10 seconds"

// JSON has no line break
const eventOf = (name: string, json: string): Uint8Array => encodeText(`event: ${name}\ndata: ${json}\n\n`)

/** The event that reports a job that the page cannot add. @internal */
export const refusal = (job: string, message: string): Uint8Array =>
  eventOf("refused", JSON.stringify({ job, message }))

/**
 * Opens the stream of a page. `begin` runs before the first jobs are sent.
 *
 * @internal
 */
export const open = (
  jobs: Jobs,
  begin: (buffer: ClientBuffer) => Effect.Effect<void, never, Scope.Scope>
): Effect.Effect<Stream.Stream<Uint8Array>, never, Scope.Scope> =>
  Effect.gen(function*() {
    const buffer = new ClientBuffer()
    const changed = new Set(jobs.all)
    const removed = new Set<Entry>()
    const news = yield* Effect.makeLatch()
    const follower = {
      changed: (entry: Entry) => {
        changed.add(entry)
        news.unsafeOpen()
      },
      removed: (entry: Entry) => {
        changed.delete(entry)
        removed.add(entry)
        news.unsafeOpen()
      }
    }
    yield* Effect.acquireRelease(
      Effect.sync(() => jobs.followers.add(follower)),
      () => Effect.sync(() => jobs.followers.delete(follower))
    )
    const send = Effect.map(Clock.currentTimeMillis, (now) => {
      if (removed.size > 0) {
        buffer.write(eventOf("removed", JSON.stringify(Array.from(removed, ({ job }) => format(job)))))
      }
      if (changed.size > 0) buffer.write(eventOf("jobs", `[${Array.from(changed, ({ json }) => json)}]`))
      // the end of a batch; the page corrects its clock by it
      buffer.write(eventOf("clock", JSON.stringify({ now, hidden: jobs.hidden })))
      removed.clear()
      changed.clear()
    })
    buffer.write(encodeText(yield* retryField))
    yield* begin(buffer)
    yield* send
    yield* Effect.schedule(news.open, Schedule.spaced(clockInterval)).pipe(Effect.forkScoped)
    yield* news.await.pipe(
      Effect.zipRight(news.close),
      Effect.zipRight(Effect.sleep(pause)),
      Effect.zipRight(Effect.suspend(() => buffer.room)),
      Effect.zipRight(send),
      Effect.forever,
      Effect.forkScoped
    )
    return buffer.stream
  })
