/** A gateway as a part of an app of `@effect/platform`, in each kind of router. */
import * as HttpApi from "@effect/platform/HttpApi"
import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import * as HttpApiEndpoint from "@effect/platform/HttpApiEndpoint"
import * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { vi } from "vitest"
import { Gateway } from "../../src/gateway/index.js"
import { JobWatcher } from "../../src/index.js"
import { TestJobQueue } from "../../src/testing/index.js"

interface WebHandler {
  readonly handler: (request: Request) => Promise<Response>
  readonly dispose: () => Promise<void>
}

const gateway = () => Gateway.httpApp({ maxConnections: 1 })

const inHttpApi = (): WebHandler => {
  const Api = HttpApi.make("app").add(
    HttpApiGroup.make("greetings").add(HttpApiEndpoint.get("hello", "/hello").addSuccess(Schema.String))
  )
  const GreetingsLive = HttpApiBuilder.group(
    Api,
    "greetings",
    (group) => group.handle("hello", () => Effect.succeed("hello"))
  )
  const JobsLive = HttpApiBuilder.Router.use((router) =>
    Effect.flatMap(JobWatcher.JobWatcher, (watcher) =>
      router.concat(HttpRouter.empty.pipe(
        HttpRouter.mountApp("/jobs", gateway()),
        HttpRouter.provideService(JobWatcher.JobWatcher, watcher)
      )))
  )
  return HttpApiBuilder.toWebHandler(Layer.mergeAll(
    HttpApiBuilder.api(Api).pipe(Layer.provide(GreetingsLive)),
    JobsLive.pipe(Layer.provide(TestJobQueue.layer())),
    HttpApiBuilder.middlewareCors(),
    HttpServer.layerContext
  ))
}

const inHttpLayerRouter = (): WebHandler => {
  const JobsLive = HttpLayerRouter.use((router) =>
    Effect.flatMap(
      JobWatcher.JobWatcher,
      (watcher) =>
        router.prefixed("/jobs").add("GET", "/*", Effect.provideService(gateway(), JobWatcher.JobWatcher, watcher))
    )
  )
  return HttpLayerRouter.toWebHandler(
    Layer.merge(JobsLive.pipe(Layer.provide(TestJobQueue.layer())), HttpLayerRouter.cors()),
    { disableLogger: true }
  )
}

describe.each([["an HttpApi", inHttpApi], ["an HttpLayerRouter", inHttpLayerRouter]])("a gateway in %s", (_, make) => {
  it("answers below its prefix, with the headers of the app, and frees what a client has abandoned", async () => {
    const { dispose, handler } = make()
    const get = (path: string) => handler(new Request(`http://app${path}`, { headers: { origin: "http://other" } }))
    const missing = await get("/jobs/status?job=a/b")
    assert.strictEqual((await missing.json())._tag, "JobNotFound")
    const all = "/jobs/events?job=a/b&job=a/c"
    const response = await get(all)
    assert.strictEqual(response.headers.get("access-control-allow-origin"), "*")
    assert.strictEqual((await get(all)).status, 503)
    await response.body?.cancel()
    await vi.waitUntil(async () => (await get(all)).status === 200)
    await dispose()
  })
})
