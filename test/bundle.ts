import { build } from "esbuild"
import { execFileSync } from "node:child_process"
import { mkdtempSync, readdirSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import type { TestProject } from "vitest/node"

declare module "vitest" {
  export interface ProvidedContext {
    readonly command: string
    /** The folder with the programs that tests start, `docs/examples/first.js` and so on. */
    readonly programs: string
  }
}

const root = fileURLToPath(new URL("..", import.meta.url))

const programs = [
  ...readdirSync(join(root, "docs/examples")).filter((name) => name.endsWith(".ts")).map((name) =>
    `docs/examples/${name}`
  ),
  ...["frameworks", "scenario", "sqlWebhooks"].map((name) => `test/fixtures/${name}.ts`)
]

/** Makes the command, as it is packed, and the programs without their types, once for all tests. */
export default async ({ provide }: TestProject): Promise<() => void> => {
  const folder = mkdtempSync(join(tmpdir(), "queue-status-"))
  execFileSync(process.execPath, [join(root, "src/cli/bundle.mjs"), folder])
  provide("command", join(folder, "queue-status.js"))

  // where what is not in the files below is found
  const built = mkdtempSync(join(root, "node_modules/.programs-"))
  await build({
    absWorkingDir: root,
    entryPoints: programs,
    outbase: ".",
    outdir: built,
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "node",
    target: "node20",
    // a process starts in half the time if it need not read hundreds of modules; these load others by name
    external: ["better-sqlite3", "express", "fastify", "msgpackr-extract", "pg-native"],
    banner: {
      js:
        "import { createRequire as createRequireOf } from \"node:module\"\nconst require = createRequireOf(import.meta.url)"
    },
    logLevel: "warning"
  })
  provide("programs", built)
  return () => {
    for (const made of [folder, built]) rmSync(made, { recursive: true, force: true })
  }
}
