import { Console, Data, Effect, Option, Schema, Stream } from "effect"
import { JobRun, JobStage } from "effect-queue-status"
import { Worker } from "effect-queue-status/testing"
import { ifStarted } from "./emulated.js"

// three models as functions, with schemas for payload and outputs
const write = JobStage.make("write", {
  model: "my-org/writer",
  payload: Schema.Struct({ topic: Schema.String }),
  outputs: Schema.Struct({ scene: Schema.NonEmptyString })
})

const paint = JobStage.make("paint", {
  model: "my-org/image-generator",
  payload: Schema.Struct({ prompt: Schema.String }),
  outputs: Schema.Struct({ image_url: Schema.String, width: Schema.Int })
})

const animate = JobStage.make("animate", {
  model: "my-org/video-generator",
  payload: Schema.Struct({ image_url: Schema.String, seconds: Schema.Int }),
  outputs: Schema.Struct({ video_url: Schema.String })
})

class TooSmall extends Data.TaggedError("TooSmall")<{ readonly width: number }> {}

/** Turns a topic into a video. With a journal, an order that is requested again after a crash resumes at its stage. */
export const film = (order: string, topic: string) =>
  Effect.gen(function*() {
    const { scene } = yield* write({ topic }, { key: `${order}/write` })
    const { image_url } = yield* paint({ prompt: scene }, { key: `${order}/paint` }).pipe(
      Effect.filterOrFail(({ width }) => width >= 512, ({ width }) => new TooSmall({ width }))
    )
    const { video_url } = yield* animate({ image_url, seconds: 8 }, { key: `${order}/animate` })
    return video_url
  })

const say = (event: JobRun.Event<string>): Effect.Effect<void> =>
  event._tag === "Observed"
    ? Console.log(Option.getOrElse(event.stage, () => ""), event.event._tag)
    : event._tag === "Succeeded"
    ? Console.log(event.value)
    : Effect.void

export const program = Stream.runForEach(JobRun.events(film("order-17", "a cat at the piano")), say)

export const workers: Worker.Pool = {
  script: Worker.byModel({
    "my-org/writer": Worker.always(Worker.finish("1 second", { scene: "a cat at the piano, in the rain" })),
    "my-org/image-generator": Worker.always(
      Worker.progress("1 second", 0.5),
      Worker.finish("1 second", { image_url: "https://example.com/cat.png", width: 1024 })
    ),
    "my-org/video-generator": Worker.always(
      Worker.finish("3 seconds", { video_url: "https://example.com/cat.mp4" })
    )
  })
}

ifStarted(import.meta.url, program, workers)
