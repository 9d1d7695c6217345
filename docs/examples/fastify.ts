import { fastify } from "fastify"
import { listener } from "./jobs.js"

export const app = fastify()
app.get("/jobs/*", (request, reply) => {
  reply.hijack()
  listener(request.raw, reply.raw)
})
