import express from "express"
import { listener } from "./jobs.js"

export const app = express()
app.get(/^\/jobs\//, listener)
