// The jobs of the demo, and their workers.
import type { SubmitRequest } from "../../queue/JobQueue.js"
import * as Worker from "../../testing/Worker.js"

const model = "my-org/video-generator"

const steps = (count: number): ReadonlyArray<Worker.Step> => Worker.progressInSteps(count, "400 millis")

const done = (name: string) => Worker.finish("300 millis", { video_url: `https://example.com/${name}.mp4` })

const lives: { readonly [name: string]: Worker.Script } = {
  "cat-at-the-piano": Worker.always(...steps(6), done("cat-at-the-piano")),
  // its worker is lost after two heartbeats, and another one takes over
  "dog-on-a-skateboard": Worker.attempts([...steps(8).slice(0, 2)], [...steps(5), done("dog-on-a-skateboard")]),
  "owl-in-the-rain": Worker.always(...steps(8).slice(0, 3), Worker.fail("300 millis", "CUDA out of memory")),
  "fox-in-the-snow": Worker.always(...steps(4), done("fox-in-the-snow")),
  // done before the second poll: its claim is inferred
  "fly-on-the-wall": Worker.always(
    Worker.finish("50 millis", { video_url: "https://example.com/fly-on-the-wall.mp4" })
  )
}

const pool: Worker.Pool = {
  model,
  workers: 3,
  claimTimeout: "2 seconds",
  pickup: "300 millis",
  script: (task, random) => lives[String(task.info["name"])]?.(task, random) ?? []
}

export const manyModel = "my-org/thumbnails"

const manyPool: Worker.Pool = {
  model: manyModel,
  workers: 60,
  claimTimeout: "2 seconds",
  script: Worker.weighted(
    [17, [Worker.finish(Worker.uniform("200 millis", "1500 millis"), { url: "https://example.com/thumbnail.png" })]],
    [2, [Worker.fail(Worker.uniform("200 millis", "1 second"), "CUDA out of memory")]],
    // its worker is lost, and another one takes over
    [1, [Worker.stopResponding]]
  )
}

export const pools: ReadonlyArray<Worker.Pool> = [manyPool, pool]

export const jobs: ReadonlyArray<SubmitRequest & { readonly name: string; readonly cancel?: true }> = [
  { name: "cat-at-the-piano" },
  { name: "dog-on-a-skateboard" },
  { name: "owl-in-the-rain" },
  { name: "fox-in-the-snow" },
  { name: "fly-on-the-wall", priority: 1 },
  // its model has no workers: it is pending when it is canceled, however slow the machine is
  { name: "ant-on-the-hill", model: "my-org/sculptor", cancel: true as const }
].map(({ name, ...rest }) => ({ name, model, payload: { prompt: name.replaceAll("-", " ") }, info: { name }, ...rest }))
