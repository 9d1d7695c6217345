import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as HttpServer from "@effect/platform/HttpServer"
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import { build } from "esbuild"
import * as Http from "node:http"
import { fileURLToPath } from "node:url"
import type { Page } from "playwright-core"
import type { JobState } from "../../docs/examples/useJob.js"
import { Emulator } from "../../src/emulator/index.js"
import { Board } from "../../src/gateway/index.js"
import { Cadence, Job, JobQueue, JobStream, JobWatcher } from "../../src/index.js"
import { TestJobQueue, Worker } from "../../src/testing/index.js"
import { errorsOf, hasChromium, launch, violationsOf } from "../fixtures/chromium.js"
import { startCommand, until } from "../fixtures/command.js"

const model = "my-org/video-generator"

const pool: Worker.Pool = {
  pickup: "300 millis",
  workers: 400,
  claimTimeout: "1 second",
  script: Worker.attempts(
    [...Worker.progressInSteps(7, "250 millis").slice(0, 3), Worker.stopResponding],
    [
      ...Worker.progressInSteps(20, "250 millis"),
      Worker.finish("250 millis", { video_url: "https://example.com/1.mp4" })
    ]
  )
}

/** The state changes of every job of the pool. */
const history = ["Queued 0", "Claimed 1", "Requeued 1", "Claimed 2", "Completed 2"]

const submit = (model: string) => Effect.orDie(JobQueue.submit({ model, payload: { prompt: "a cat" } }))

const policy = { cadence: Cadence.fixed("300 millis") }

const run = <A>(promise: () => Promise<A>) => Effect.promise(promise)

/** A board in this process, and its address. */
const serve = Effect.gen(function*() {
  const context = yield* HttpServer.serve(Board.httpApp).pipe(
    Layer.provideMerge(Board.layer().pipe(Layer.provide(JobWatcher.layer({ pollsPerSecond: 4_000 })))),
    Layer.provideMerge(NodeHttpServer.layer(Http.createServer, { host: "127.0.0.1", port: 0 })),
    Layer.build
  )
  const { address } = Context.get(context, HttpServer.HttpServer)
  return { context, url: `http://127.0.0.1:${address._tag === "TcpAddress" ? address.port : assert.fail()}/` }
})

/** A port that was free a moment ago. */
const freePort = Effect.async<number>((resume) => {
  const server = Http.createServer().listen(0, "127.0.0.1", () => {
    const address = server.address()
    const port = address !== null && typeof address === "object" ? address.port : assert.fail()
    server.close(() => resume(Effect.succeed(port)))
  })
})

/** Waits until a condition holds in the page. (`page.waitForFunction` needs `eval`, which the page forbids.) */
const waitFor = (page: Page, isSo: () => boolean): Effect.Effect<void> =>
  Effect.flatMap(
    run(() => page.evaluate(isSo)),
    (is) => is ? Effect.void : Effect.zipRight(Effect.sleep("50 millis"), waitFor(page, isSo))
  )

const stepsOf = (page: Page): Promise<ReadonlyArray<string>> =>
  page.locator(".detail li").evaluateAll((items) => items.map((item: any) => item.dataset.step))

/** The client for browsers, and a component with the hook of the guide, as a script. */
const client = Effect.promise(() =>
  build({
    stdin: {
      contents: `
        import { createElement } from "react"
        import { createRoot } from "react-dom/client"
        import { useJob } from "./docs/examples/useJob.js"
        export { watch } from "./src/browser/index.js"
        export const show = (job) => {
          const root = createRoot(document.createElement("div"))
          const states = []
          const Component = () => {
            states.push(useJob(job))
            return null
          }
          root.render(createElement(Component))
          return { states, unmount: () => root.unmount() }
        }`,
      resolveDir: fileURLToPath(new URL("../..", import.meta.url))
    },
    alias: { "effect-queue-status/browser": fileURLToPath(new URL("../../src/browser/index.ts", import.meta.url)) },
    define: { "process.env.NODE_ENV": "\"production\"" },
    bundle: true,
    format: "iife",
    globalName: "client",
    footer: { js: "window.client = client" },
    write: false
  })
)

const isStateChange = (step: string) => !step.startsWith("Progressed")

const Queue = Layer.unwrapScoped(
  Effect.gen(function*() {
    const { baseUrl } = Context.get(yield* Layer.build(Emulator.layer({ workers: pool })), Emulator.Emulator)
    return Layer.merge(
      Layer.effect(JobQueue.JobQueue, JobQueue.make({ baseUrl, apiKey: Redacted.make("any") })),
      Layer.succeed(Emulator.Emulator, { baseUrl, origin: "", requests: Effect.succeed([]) })
    )
  })
).pipe(Layer.provide(NodeHttpClient.layerUndici))

describe.skipIf(!hasChromium)("in Chromium", () => {
  it.scopedLive("a server that is killed and restarted leaves no gap and no repeat, on the page, for an EventSource, the client and a React hook", () =>
    Effect.gen(function*() {
      const { baseUrl } = yield* Emulator.Emulator
      const port = yield* freePort
      const start = Effect.gen(function*() {
        const server = yield* startCommand(["serve", "--port", String(port)], {
          TOGETHER_BASE_URL: baseUrl,
          TOGETHER_API_KEY: "any"
        })
        yield* until(() => server.stdout().includes("http"))
        return server
      })
      const first = yield* start
      const page = yield* (yield* launch)()
      yield* run(() => page.goto(`http://127.0.0.1:${port}/`))
      const job = Job.format(yield* submit(model))
      const other = Job.format(yield* submit(model))
      const script = (yield* client).outputFiles[0]?.text ?? assert.fail()
      yield* run(() => page.evaluate(script))
      yield* run(() =>
        page.evaluate((job) => {
          const followed: Array<string> = []
          const follow = async () => {
            for await (const event of (window as any).client.watch({ url: "/jobs", job })) {
              followed.push(event._tag === "Disconnected" ? event._tag : `${event._tag} ${event.attempt} ${event.id}`)
            }
            followed.push("the end")
          }
          follow()
          const seen: Array<string> = []
          const states: Array<string> = []
          const source = new EventSource(`/jobs/events?${new URLSearchParams({ job })}`)
          const tags = ["Queued", "Claimed", "Progressed", "Requeued", "Completed"]
          const note = ({ data, lastEventId }: MessageEvent) => {
            const { _tag, attempt } = JSON.parse(data)
            seen.push(`${_tag} ${attempt} ${lastEventId}`)
          }
          for (const tag of tags) source.addEventListener(tag, note)
          source.addEventListener("end", () => source.close())
          new MutationObserver(() => {
            const state = document.querySelector(`[data-job="${job}"] .state b`)?.textContent ?? "no row"
            if (state !== states.at(-1)) states.push(state)
          }).observe(document.body, { childList: true, subtree: true, characterData: true })
          const shown = (window as any).client.show(job).states
          Object.assign(window, { followed, seen, shown, states })
          location.hash = new URLSearchParams({ job }).toString()
        }, job)
      )
      const state = page.locator(`[data-job="${job}"] .state b`)
      yield* run(() => state.getByText("running").waitFor())
      // a component that is gone ends its watch
      const row = page.locator(`[data-job="${other}"]`)
      yield* run(() =>
        page.evaluate((job) => {
          ;(window as any).other = (window as any).client.show(job)
        }, other)
      )
      yield* waitFor(page, () => (window as any).other.states.at(-1).last !== undefined)
      yield* run(() => page.evaluate(() => (window as any).other.unmount()))
      yield* run(() => row.getByText("not watched any more").waitFor())
      first.kill("SIGKILL")
      yield* first.exited
      yield* run(() => page.locator("#connection.lost").waitFor())
      // what was seen last: on a slow machine, the worker is lost by now
      assert.match((yield* run(() => state.textContent())) ?? "", /queued|running|done/)
      const second = yield* start
      yield* run(() => page.locator("#connection").getByText("Live").waitFor())
      second.kill("SIGKILL")
      yield* second.exited
      yield* start
      yield* run(() => state.getByText("done").waitFor())
      yield* run(() => page.locator(`[data-job="${job}"] button`).click())
      const shown = yield* run(() => stepsOf(page))
      assert.deepStrictEqual(shown.filter(isStateChange), history)
      assert.strictEqual(new Set(shown).size, shown.length)

      yield* waitFor(page, () => (window as any).seen.some((event: string) => event.startsWith("Completed")))
      yield* waitFor(page, () => (window as any).followed.at(-1) === "the end")
      yield* waitFor(page, () => (window as any).shown.at(-1).last?._tag === "Completed")
      const { followed, seen, shown: shownByHook, states } = yield* run(() =>
        page.evaluate<
          & Record<"followed" | "seen" | "states", Array<string>>
          & { readonly shown: ReadonlyArray<JobState> }
        >("({ followed, seen, shown, states })")
      )
      const connections = shownByHook.map(({ isConnected }) => isConnected)
      assert.isBelow(connections.indexOf(true), connections.lastIndexOf(false))
      const rendered = shownByHook.flatMap(({ last }) => last === undefined ? [] : `${last._tag} ${last.attempt}`)
      // updates that come together are rendered once
      assert.deepStrictEqual(rendered.filter((step) => history.includes(step)).at(-1), "Completed 2")
      assert.isTrue(shownByHook.every(({ error, progress = 0 }) => error === undefined && progress <= 1))
      assert.include(followed, "Disconnected")
      const byClient = followed.filter((event) => !/^(Connected|Disconnected|Trouble|Recovered|the end)/.test(event))
      for (const events of [seen, byClient]) {
        const steps = events.map((event) => event.split(" ").slice(0, 2).join(" "))
        assert.deepStrictEqual(steps.filter(isStateChange), history)
        const cursors = events.map((event) => event.split(" ")[2])
        assert.strictEqual(new Set(cursors).size, events.length, `each cursor once:\n${events.join("\n")}`)
      }
      // what the page has shown never goes back
      assert.notInclude(states.slice(states.findIndex((state) => state.includes("queued"))).join(), "asking")
      assert.strictEqual(states.filter((state) => state.includes("done")).length, 1)
    }).pipe(Effect.provide(Queue)))

  it.scopedLive("shows a thousand jobs live, in the rows that it has made once", () =>
    Effect.gen(function*() {
      const { context, url } = yield* serve
      const models = ["a", "b", "c", "d"].map((name) => `my-org/${name}`)
      const jobs = yield* Effect.forEach(models, (model) => Effect.replicateEffect(submit(model), 250))
      const page = yield* (yield* launch)()
      const errors = errorsOf(page)
      yield* run(() => page.goto(url))
      yield* JobStream.watchAll(Stream.fromIterable(jobs.flat()), policy).pipe(
        Stream.runDrain,
        Effect.provide(context),
        Effect.forkScoped
      )
      const rows = page.locator("tbody tr:not(.detail)")
      yield* waitFor(page, () => document.querySelectorAll("tbody tr").length === 1_000)
      yield* run(() =>
        page.evaluate(() => Object.assign(window, { made: Array.from(document.querySelectorAll("tbody tr")) }))
      )
      const last = rows.nth(999)
      yield* run(() => last.locator("button").focus())
      yield* waitFor(page, () => document.querySelectorAll("tr.Completed").length === 1_000)
      assert.isTrue(yield* run(() => page.evaluate(() => (window as any).made.every((row: Node) => row.isConnected))))
      assert.isTrue(yield* run(() => last.locator("button").evaluate((button) => button === document.activeElement)))
      yield* run(() => page.keyboard.press("Enter"))
      assert.deepStrictEqual((yield* run(() => stepsOf(page))).filter(isStateChange), history)
      assert.deepStrictEqual(yield* run(() => page.locator("h2 + p").allTextContents()), models.map(() => "250 done"))
      assert.deepStrictEqual(errors, [])
    }).pipe(Effect.provide(TestJobQueue.layer({ workers: pool }))))

  it.scopedLive("can be used with a keyboard alone, and has the name and role of everything, narrow and wide, dark and light", () =>
    Effect.gen(function*() {
      const { context, url } = yield* serve
      const watched = yield* submit(model)
      const job = yield* submit(model)
      yield* JobStream.transitions(watched, policy).pipe(Stream.runDrain, Effect.provide(context), Effect.forkScoped)
      const open = yield* launch
      for (const colorScheme of ["dark", "light"] as const) {
        for (const width of [360, 1_280]) {
          const page = yield* open({ colorScheme, viewport: { width, height: 800 } })
          const errors = errorsOf(page)
          yield* run(() => page.goto(url))
          yield* run(() => page.locator("tbody tr").first().waitFor())
          const focused = () => page.evaluate(() => document.activeElement?.textContent || document.activeElement?.id)
          const press = (key: string) => page.keyboard.press(key).then(focused)
          const walk = yield* run(async () => {
            const walk = [await press("Tab")]
            await page.keyboard.type("nonsense")
            await page.keyboard.press("Enter")
            await page.getByRole("alert").getByText("nonsense: a job is named MODEL/REQUEST_ID").waitFor()
            await page.keyboard.type(Job.format(job))
            await page.keyboard.press("Enter")
            await page.locator(`[data-job="${Job.format(job)}"]`).waitFor()
            for (const key of ["Tab", "Tab", "ArrowDown", "ArrowUp", "Enter"]) walk.push(await press(key))
            return walk
          })
          const [added, before] = [job, watched].map(({ requestId }) => requestId.slice(-8))
          // the newest job comes first
          assert.deepStrictEqual(walk, ["name", "Add", added, before, added, added])
          const button = page.getByRole("button", { expanded: true })
          assert.strictEqual(yield* run(() => button.textContent()), added)
          yield* run(() => page.locator(".detail li").first().waitFor())
          assert.deepStrictEqual(yield* run(() => violationsOf(page)), [])
          assert.isAtMost(yield* run(() => page.evaluate(() => document.documentElement.scrollWidth)), width)
          yield* run(() => page.keyboard.press("Enter"))
          assert.strictEqual(yield* run(() => page.locator(".detail").count()), 0)
          assert.deepStrictEqual(errors, [])
          yield* run(() => page.close())
        }
      }
    }).pipe(Effect.provide(TestJobQueue.layer({ workers: pool }))))
})
