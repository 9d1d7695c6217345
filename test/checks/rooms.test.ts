/**
 * The check of the rooms detects violations, including those by types. `npm run lint` runs it on `src`.
 */
import { assert, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

const path = (name: string) => fileURLToPath(new URL(name, import.meta.url))

type Violation = readonly [from: string, rule: string]

/** The rules that a `src` with these files violates. */
const violationsOf = (files: { readonly [name: string]: string }): Array<Violation> => {
  const folder = mkdtempSync(join(tmpdir(), "rooms-"))
  try {
    symlinkSync(path("../../node_modules"), join(folder, "node_modules"), "junction")
    writeFileSync(join(folder, "tsconfig.json"), "{}")
    for (const [name, text] of Object.entries(files)) {
      const file = join(folder, "src", name)
      mkdirSync(dirname(file), { recursive: true })
      writeFileSync(file, text)
    }
    const command = path("../../node_modules/dependency-cruiser/bin/dependency-cruise.mjs")
    const { stdout } = spawnSync(
      process.execPath,
      [command, "--config", path("rooms.mjs"), "--output-type", "json", "src"],
      { cwd: folder, encoding: "utf8" }
    )
    const { summary } = JSON.parse(stdout) as {
      readonly summary: {
        readonly violations: ReadonlyArray<{ readonly from: string; readonly rule: { readonly name: string } }>
      }
    }
    return summary.violations.map(({ from, rule }) => [from.replace("src/", ""), rule.name] as const)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

it("a room imports only its own files, lower rooms and its packages", () => {
  assert.sameDeepMembers(
    violationsOf({
      // valid imports
      "model/good.ts": "import * as Effect from \"effect/Effect\"\nexport const good = Effect.void\n",
      "watch/good.ts": "export { good } from \"../model/good.js\"\n",
      "index.ts": "export * from \"./watch/good.js\"\nexport * from \"./testing/good.js\"\n",
      "testing/good.ts": "export { good } from \"../watch/good.js\"\n",
      // one violation each
      "model/higher.ts": "import type { good } from \"../watch/good.js\"\nexport type Higher = typeof good\n",
      "queue/beside.ts": "export { lower } from \"../policy/lower.js\"\n",
      "policy/lower.ts": "export const lower = 1\n",
      "watch/packageOfNode.ts": "export * as Context from \"@effect/platform-node/NodeContext\"\n",
      "run/moduleOfNode.ts": "export * as fs from \"node:fs\"\n",
      "model/circle.ts": "import type { B } from \"./other.js\"\nexport type A = B\n",
      "model/other.ts": "import type { A } from \"./circle.js\"\nexport type B = A | 1\n",
      "queue/fibers.ts": "export * as Runtime from \"effect/Runtime\"\n",
      "queue/internal/fiber.ts": "export * as Runtime from \"effect/Runtime\"\n",
      "attic/file.ts": "export { good } from \"../model/good.js\"\n"
    }),
    [
      ["index.ts", "core-exports"],
      ["model/higher.ts", "model-imports"],
      ["queue/beside.ts", "queue-imports"],
      ["watch/packageOfNode.ts", "watch-imports"],
      ["run/moduleOfNode.ts", "run-imports"],
      ["model/circle.ts", "no-circle"],
      ["queue/fibers.ts", "fibers-by-hand"],
      ["attic/file.ts", "no-room"]
    ]
  )
})
