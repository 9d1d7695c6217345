import { Console, Effect, Schema } from "effect"
import { JobRun } from "effect-queue-status"
import { Worker } from "effect-queue-status/testing"
import { ifStarted } from "./emulated.js"

const Answer = Schema.Struct({ answer: Schema.String })

const ask = (model: string) => JobRun.run({ model, payload: { question: "is this a cat?" } }, Answer)

/** The large model, and, if it takes longer than three seconds, the small one as well; whichever is done first. */
export const hedged = JobRun.firstDone([
  ask("my-org/large"),
  Effect.delay(ask("my-org/small"), "3 seconds")
])

export const program = Effect.gen(function*() {
  const { index, released, value } = yield* hedged
  yield* Console.log(`${index === 0 ? "large" : "small"}: ${value.answer}`)
  // the other one was canceled if it was still pending; what runs goes on, and is paid for
  for (const release of released) {
    if (release._tag === "StillRunning") yield* Console.log(`${release.job.model} goes on`)
    if (release._tag === "Unknown") yield* Console.log(`${release.model} may have a job with the key ${release.key}`)
  }
})

export const workers: Worker.Pool = {
  workers: 2,
  script: Worker.byModel({
    "my-org/large": Worker.always(Worker.finish("1 minute", { answer: "it is, on balance" })),
    "my-org/small": Worker.always(Worker.finish("1 second", { answer: "yes" }))
  })
}

ifStarted(import.meta.url, program, workers)
