/**
 * The number of jobs that one submit creates if its response is lost. Each client with its defaults, on the emulator.
 *
 *     node --import tsx test/bench/submit.ts
 *
 * The clients of fal and Replicate use other protocols. Their requests are translated to the protocol of this queue,
 * and the responses to theirs; the clients themselves decide whether and when they repeat a request.
 */
import { NodeHttpClient } from "@effect/platform-node"
import { createFalClient } from "@fal-ai/client"
import { Effect, Logger, LogLevel, Redacted } from "effect"
import { JobQueue, JobRun } from "effect-queue-status"
import { Emulator } from "effect-queue-status/emulator"
import { Fault } from "effect-queue-status/testing"
import Replicate from "replicate"
import Together from "together-ai"

const model = "my-org/video-generator"
const payload = { prompt: "a cat at the piano" }

/** Translates every request to a submit, and its response with `toAnswer`. */
const translating = (baseUrl: string, toAnswer: (requestId: string) => object): typeof fetch => async (_, init) => {
  const answer = await fetch(`${baseUrl}/queue/submit`, {
    method: "POST",
    headers: { authorization: "Bearer any", "content-type": "application/json" },
    body: JSON.stringify({ model, payload }),
    ...(init?.signal && { signal: init.signal })
  })
  if (!answer.ok) return answer
  const { requestId } = await answer.json()
  return Response.json(toAnswer(requestId))
}

const clients: { readonly [name: string]: (baseUrl: string) => Effect.Effect<unknown, unknown> } = {
  "`JobRun.submit`": (baseUrl) =>
    Effect.flatMap(
      JobQueue.make({ baseUrl, apiKey: Redacted.make("any") }),
      (queue) => Effect.provideService(JobRun.submit({ model, payload }), JobQueue.JobQueue, queue)
    ).pipe(
      Effect.provide(NodeHttpClient.layerUndici)
    ),
  "`together-ai` 0.52.0, `queue.submit`": (baseUrl) =>
    Effect.tryPromise(() => {
      const { queue } = new Together({ baseURL: baseUrl, apiKey: "any" }).beta.jig
      return Promise.resolve(queue.submit({ model, payload }))
    }),
  "`@fal-ai/client` 1.10.1, `queue.submit`": (baseUrl) =>
    Effect.tryPromise(() => {
      const toAnswer = (request_id: string) => ({ request_id, status: "IN_QUEUE" })
      const { queue } = createFalClient({ credentials: "any", fetch: translating(baseUrl, toAnswer) })
      return queue.submit(model, { input: payload })
    }),
  "`replicate` 1.4.0, `predictions.create`": (baseUrl) =>
    Effect.tryPromise(() => {
      const toAnswer = (id: string) => ({ id, status: "starting" })
      const { predictions } = new Replicate({ auth: "any", fetch: translating(baseUrl, toAnswer) })
      return predictions.create({ model, input: payload })
    })
}

const losses = {
  "the connection breaks": Fault.answerLost(),
  "502 of a gateway": Fault.answerLost(Fault.unavailable({ status: 502 })),
  "HTTP 500": Fault.answerLost(Fault.unavailable({ status: 500 }))
}

const jobs = (client: (baseUrl: string) => Effect.Effect<unknown, unknown>, fault: Fault.Fault) =>
  Effect.gen(function*() {
    const { baseUrl } = yield* Emulator.Emulator
    yield* Effect.ignore(client(baseUrl))
    const queue = yield* JobQueue.make({ baseUrl, apiKey: Redacted.make("any") })
    return (yield* queue.metrics(model)).total
  }).pipe(
    Effect.provide([Emulator.layer({ faults: [Fault.on(fault, "submit")] }), NodeHttpClient.layerUndici])
  )

const program = Effect.gen(function*() {
  const rows = yield* Effect.forEach(
    Object.entries(clients),
    ([name, client]) =>
      Effect.map(
        Effect.forEach(Object.values(losses), (fault) => jobs(client, fault), { concurrency: "unbounded" }),
        (cells) => ({ name, cells })
      ),
    { concurrency: "unbounded" }
  )
  const names = Object.keys(losses)
  const line = (cells: ReadonlyArray<string>) => `| ${cells.join(" | ")} |`
  return [
    line(["jobs made by one submit, when its answer is lost:", ...names]),
    line(["---", ...names.map(() => "---:")]),
    ...rows.map(({ cells, name }) => line([name, ...cells.map(String)]))
  ].join("\n")
})

console.log(await Effect.runPromise(Logger.withMinimumLogLevel(program, LogLevel.None)))
process.exit(0)
