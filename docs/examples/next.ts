// app/jobs/[...path]/route.ts
import { handler } from "./jobs.js"

export const dynamic = "force-dynamic"

export const GET = (request: Request): Promise<Response> => handler(request)
