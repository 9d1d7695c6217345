/**
 * A watcher in another process, behind the port: the `JobQueue` of the near process polls the far watcher, in JSON, over a
 * connection that may break. The deadlines and retries of each subscriber stay on its own side.
 */
import { it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/TestClock"
import { Cadence, Deadline, Job, JobQueue, JobWatcher, QueueError, WatchPolicy } from "../../src/index.js"
import { Conformance } from "../../src/testing/index.js"
import { seesHistory } from "../fixtures/brokenConnection.js"
import { runs } from "../fixtures/runs.js"

const cadence = Cadence.fixed("50 millis")

/** The message on the wire: a snapshot, or an error. */
const Answer = Schema.parseJson(Schema.Either({ left: QueueError.QueueError, right: Job.JobStatus }))

const answer = (answer: typeof Answer.Type) => Effect.orDie(Schema.encode(Answer)(answer))

/** The far side: responds with the next snapshot of a watcher. */
const serve = (watcher: JobWatcher.Service) => (name: string): Effect.Effect<string> =>
  Effect.scoped(Effect.gen(function*() {
    const job = yield* Effect.orDie(Schema.decode(Job.JobRefFromString)(name))
    const subscription = yield* watcher.subscribe({
      policy: { ...WatchPolicy.defaultPolicy, cadence, retry: Schedule.spaced("100 millis"), deadline: Deadline.none },
      wants: "polls"
    })
    yield* subscription.add(job)
    for (const notice of yield* subscription.next) {
      if (notice._tag === "Sample") return yield* answer(Either.right(notice.status))
      if (notice._tag === "Trouble") return yield* answer(Either.left(notice.error))
      if (notice._tag === "Ended" && Exit.isFailure(notice.exit)) {
        const error = Option.getOrThrow(Cause.failureOption(notice.exit.cause))
        if (QueueError.isQueueError(error)) return yield* answer(Either.left(error))
      }
    }
    return yield* Effect.dieMessage("a subscription to polls begins with a sample or an error")
  }))

/** A watcher over another one. `breaks` returns whether the connection of a request breaks. */
const remote = (breaks: () => boolean = () => false) =>
  Layer.scoped(
    JobWatcher.JobWatcher,
    Effect.gen(function*() {
      const queue = yield* JobQueue.JobQueue
      const far = serve(yield* JobWatcher.make())
      const status = (job: Job.JobRef) =>
        Effect.gen(function*() {
          const text = breaks() ? undefined : yield* far(Job.format(job))
          if (text === undefined || breaks()) {
            return yield* new QueueError.Unreachable({
              operation: "status",
              model: job.model,
              job,
              reason: "the connection broke"
            })
          }
          return yield* Effect.flatten(Effect.orDie(Schema.decode(Answer)(text)))
        })
      return yield* Effect.provideService(JobWatcher.make(), JobQueue.JobQueue, { ...queue, status })
    })
  )

it.effect("the laws of the port hold for a watcher that polls another one", () =>
  Effect.forEach(Conformance.watcherChecks({ watcher: remote(), pass: TestClock.adjust }), ({ run }) => run, {
    discard: true
  }))

it("law: the transitions of a job are those of its history, with any failures of the connection", () =>
  seesHistory(remote, runs(20, 80)))
