/** The cost of decoding a status document: `node --import tsx test/bench/decode.ts`. */
import { Schema } from "effect"
import { Job } from "effect-queue-status"
import { cpu, document, interleaved, large, table } from "./fixtures.js"

const rounds = 5

const decode = Schema.decodeUnknownSync(Job.JobStatus)
const text = JSON.stringify(document)
const largeText = JSON.stringify(large)

const decoding = (name: string, calls: number, f: () => unknown) => ({
  name,
  run: () =>
    cpu(calls, () => {
      for (let i = 0; i < calls; i++) f()
    })
})

console.log(table(
  "decoding a status document",
  "µs of CPU",
  await interleaved(rounds, [
    decoding("`JSON.parse`", 20_000, () => JSON.parse(text)),
    decoding("`JSON.parse` and `Job.JobStatus`", 20_000, () => decode(JSON.parse(text)))
  ])
))

console.log(table(
  "decoding what is parsed already",
  "µs of CPU",
  await interleaved(rounds, [
    decoding("a usual document", 20_000, () => decode(document)),
    decoding("one with 2,000 keys in `outputs`", 20_000, () => decode(large))
  ])
))

console.log(table(
  "a document with 2,000 keys in `outputs`",
  "µs of CPU",
  await interleaved(rounds, [
    decoding("`JSON.parse`", 2_000, () => JSON.parse(largeText)),
    decoding("`JSON.parse` and `Job.JobStatus`", 2_000, () => decode(JSON.parse(largeText)))
  ])
))
