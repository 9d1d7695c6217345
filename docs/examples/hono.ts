import { Hono } from "hono"
import { handler } from "./jobs.js"

export const app = new Hono()
app.get("/jobs/*", (context) => handler(context.req.raw))
