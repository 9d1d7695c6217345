/** The scripts of package.json that `npm test` runs beside the tests: one test each, which shows its output on failure. */
import { spawn } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { it } from "vitest"
import { environment } from "./environment.js"

// Each script has its own process group and temporary folder. Both are removed when it or this process ends.
const cleanups = new Set<() => void>()
const cleanUp = () => cleanups.forEach((clean) => clean())

process.on("exit", cleanUp)
for (const event of ["disconnect", "SIGHUP", "SIGINT", "SIGTERM"]) {
  process.once(event, () => {
    cleanUp()
    process.kill(process.pid, "SIGKILL")
  })
}

const run = (
  script: string,
  signal: AbortSignal
): Promise<{ readonly code: number | null; readonly output: string }> => {
  const TMPDIR = mkdtempSync(join(tmpdir(), "effect-queue-status-"))
  const env = { ...environment, NO_COLOR: "1", TMPDIR }
  const child = spawn("npm", ["run", "--silent", script], { detached: true, env, stdio: ["ignore", "pipe", "pipe"] })
  const clean = () => {
    try {
      process.kill(-child.pid!, "SIGKILL")
    } catch {
      // it has ended
    }
    rmSync(TMPDIR, { recursive: true, force: true, maxRetries: 3 })
  }
  cleanups.add(clean)
  signal.addEventListener("abort", clean)
  let output = ""
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text) => output += text)
  return new Promise((resolve, reject) => {
    child.on("error", reject)
    child.on("exit", clean) // a child that is still running would keep the pipes open
    child.on("close", (code) => {
      cleanups.delete(clean)
      resolve({ code, output })
    })
  })
}

// the longest first
for (const script of ["package", "check", "docs", "lint", "test:types"]) {
  it.concurrent(`npm run ${script}`, async ({ signal }) => {
    const { code, output } = await run(script, signal)
    if (code !== 0) throw new Error(output)
  })
}
