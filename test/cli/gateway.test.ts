/**
 * The command with a gateway: it needs no token of the service.
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import { assert, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Http from "node:http"
import { codes } from "../../src/cli/exit.js"
import { Gateway, GatewayAccess } from "../../src/gateway/index.js"
import { Job, JobQueue, JobWatcher } from "../../src/index.js"
import { TestJobQueue, Worker } from "../../src/testing/index.js"
import { runInside } from "../fixtures/cli.js"
import { linesOf } from "../fixtures/command.js"
import { model } from "../fixtures/job.js"

const token = "gw_0123456789abcdef0123456789abcdef"

const serve = HttpServer.serve(
  HttpRouter.empty.pipe(
    HttpRouter.mountApp("/jobs", Gateway.httpApp({ access: GatewayAccess.bearer([Redacted.make(token)]) }))
  )
).pipe(
  Layer.provide(JobWatcher.layer()),
  Layer.provideMerge(NodeHttpServer.layer(Http.createServer, { host: "127.0.0.1", port: 0 })),
  Layer.build,
  Effect.map((context) => Context.get(context, HttpServer.HttpServer).address),
  Effect.map((address) =>
    address._tag === "TcpAddress" ? `http://127.0.0.1:${address.port}/jobs` : assert.fail(address.path)
  )
)

it.scopedLive("watches and waits through a gateway", () =>
  Effect.gen(function*() {
    const job = Job.format(yield* JobQueue.submit({ model, payload: {} }))
    const url = yield* serve
    const watched = yield* runInside(["watch", "--gateway", url, "--json", "--every", "100ms", job], {
      JOB_GATEWAY_TOKEN: token
    })
    assert.deepStrictEqual([watched.code, watched.stderr], [codes.done, ""])
    const tags = linesOf(watched.stdout).map((line) => JSON.parse(line)._tag)
    assert.deepStrictEqual([tags[0], tags.at(-1)], ["Queued", "Completed"])
    const result = yield* runInside(["result", job, "--gateway", url], { JOB_GATEWAY_TOKEN: token })
    assert.deepStrictEqual([result.code, JSON.parse(result.stdout)], [codes.done, { answer: 42 }])
    for (const env of [{}, { JOB_GATEWAY_TOKEN: "another-token" }]) {
      const refused = yield* runInside(["result", job, "--gateway", url], env)
      assert.strictEqual(refused.code, codes.gaveUp)
      assert.include(refused.stderr, "token")
      assert.notInclude(refused.stderr, "another-token")
    }
    const wrong = yield* runInside(["result", job, "--gateway", "nowhere"])
    assert.strictEqual(wrong.code, codes.usage)
    assert.include(wrong.stderr, "--gateway: ")
  }).pipe(Effect.provide(TestJobQueue.layer({
    workers: { pickup: "50 millis", script: Worker.always(Worker.finish("300 millis", { answer: 42 })) }
  }))))
