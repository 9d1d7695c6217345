import Together from "together-ai"

// the SDK reads TOGETHER_BASE_URL and TOGETHER_API_KEY
const { queue } = new Together().beta.jig

const model = "my-org/video-generator"

const { requestId } = await queue.submit({ model, payload: { prompt: "a cat at the piano" }, priority: 1 })
console.log("submitted", requestId)

for (;;) {
  const job = await queue.retrieve({ model, request_id: requestId })
  console.log(job.status, job.info ?? {})
  if (job.status === "done" || job.status === "failed" || job.status === "canceled") {
    console.log(job.outputs ?? {})
    break
  }
  await new Promise((resolve) => setTimeout(resolve, 500))
}
