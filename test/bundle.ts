import { execFileSync } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import type { TestProject } from "vitest/node"

declare module "vitest" {
  export interface ProvidedContext {
    readonly command: string
  }
}

/** Makes the command, as it is packed, once for all tests. */
export default ({ provide }: TestProject): () => void => {
  const folder = mkdtempSync(join(tmpdir(), "queue-status-"))
  execFileSync(process.execPath, [fileURLToPath(new URL("../src/cli/bundle.mjs", import.meta.url)), folder])
  provide("command", join(folder, "queue-status.js"))
  return () => rmSync(folder, { recursive: true, force: true })
}
