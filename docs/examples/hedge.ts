import { Console, Effect, Schema, Stream } from "effect"
import { JobRun } from "effect-queue-status"
import { Worker } from "effect-queue-status/testing"
import { ifStarted } from "./emulated.js"

const Answer = Schema.Struct({ answer: Schema.String })

const ask = (model: string) => JobRun.run({ model, payload: { question: "is this a cat?" } }, Answer)

/** Asks the large model, and, if it takes longer than three seconds, the small one as well. The first result counts. */
export const hedged = Effect.raceAll([
  Effect.map(ask("my-org/large"), ({ answer }) => `large: ${answer}`),
  Effect.delay(Effect.map(ask("my-org/small"), ({ answer }) => `small: ${answer}`), "3 seconds")
])

export const program = JobRun.events(hedged).pipe(
  Stream.runForEach((event) => {
    if (event._tag === "Succeeded") return Console.log(event.value)
    if (event._tag !== "Released") return Effect.void
    // a pending loser is canceled; a running one continues and is billed
    return event.release._tag === "StillRunning"
      ? Console.log(`${event.release.job.model} goes on`)
      : event.release._tag === "Unknown"
      ? Console.log(`${event.release.model} may have a job with the key ${event.release.key}`)
      : Effect.void
  })
)

export const workers: Worker.Pool = {
  workers: 2,
  script: Worker.byModel({
    "my-org/large": Worker.always(Worker.finish("1 minute", { answer: "it is, on balance" })),
    "my-org/small": Worker.always(Worker.finish("1 second", { answer: "yes" }))
  })
}

ifStarted(import.meta.url, program, workers)
