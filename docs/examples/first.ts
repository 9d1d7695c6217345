import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Console, Effect, Layer, Stream } from "effect"
import { JobRun, JobStream, JobWatcher } from "effect-queue-status"
import { NodeJobQueue } from "effect-queue-status/node"

const program = Effect.gen(function*() {
  const job = yield* JobRun.submit({ model: "my-org/video-generator", payload: { prompt: "a cat at the piano" } })
  const states = Stream.filter(JobStream.transitions(job), ({ _tag }) => _tag !== "Progressed")
  yield* Stream.runForEach(states, ({ _tag }) => Console.log(_tag))
  yield* Console.log(yield* JobStream.result(job))
})

const QueueLive = JobWatcher.layer().pipe(Layer.provideMerge(NodeJobQueue.layer())) // the token is in TOGETHER_API_KEY
program.pipe(Effect.provide(QueueLive), NodeRuntime.runMain)
