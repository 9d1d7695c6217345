// the root of the host: the endpoints for workers are not under /v1
const origin = new URL(process.env["TOGETHER_BASE_URL"] ?? "http://127.0.0.1:8484/v1").origin
const headers = { authorization: `Bearer ${process.env["TOGETHER_API_KEY"] ?? "any"}` }
const model = "my-org/video-generator"

const exactly200 = async (answer: Response) => {
  if (answer.status !== 200) throw new Error(`${answer.status} ${await answer.text()}`)
  return await answer.json()
}

const report = async (request_id: string, status: "running" | "done" | "failed", payload = {}, info = {}) =>
  await exactly200(
    await fetch(`${origin}/internal/v1/videos/status`, {
      method: "POST",
      headers,
      body: JSON.stringify({ model, request_id, status, payload, info })
    })
  )

const work = async (prompt: unknown, progress: (fraction: number) => Promise<unknown>) => {
  for (const fraction of [0.25, 0.5, 0.75]) {
    await new Promise((resolve) => setTimeout(resolve, 300))
    await progress(fraction)
  }
  if (typeof prompt !== "string") throw new Error("there is no prompt")
  return { video_url: `https://example.com/${encodeURIComponent(prompt)}.mp4` }
}

for (;;) {
  const query = new URLSearchParams({ model, timeout: "5s", hostname: "worker-1", claim_timeout: "90" })
  const { data } = await exactly200(await fetch(`${origin}/internal/v1/queue/retrieve?${query}`, { headers }))
  if (data === undefined) continue // no job was submitted meanwhile
  try {
    const outputs = await work(data.payload.prompt, (progress) => report(data.request_id, "running", {}, { progress }))
    await report(data.request_id, "done", outputs)
  } catch (error) {
    await report(data.request_id, "failed", {}, { error: String(error) })
  }
}
