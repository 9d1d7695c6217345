import { readdirSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"
import { define } from "./test/checks/environment.js"
import { pages } from "./test/checks/pages.js"

const path = (name: string) => fileURLToPath(new URL(name, import.meta.url))

/** The test files whose laws are tried more often by `npm run test:deep`. */
const withDeepLaws = () =>
  readdirSync(path("test"), { encoding: "utf8", recursive: true })
    .filter((name) => name.endsWith(".test.ts") && readFileSync(path(`test/${name}`), "utf8").includes("/runs.js\""))
    .map((name) => `test/${name}`)

const service = define()

export default defineConfig(({ mode }) => ({
  plugins: [pages()],
  resolve: {
    alias: [
      { find: /^effect-queue-status$/, replacement: path("src/index.ts") },
      { find: /^effect-queue-status\/(testing|emulator|node)$/, replacement: path("src/$1/index.ts") }
    ]
  },
  test: {
    include: mode === "deep" ? withDeepLaws() : ["test/**/*.test.ts", "docs/testing*.md"],
    pool: "forks",
    poolOptions: { forks: { minForks: 1, maxForks: 2 } },
    globalSetup: ["test/bundle.ts"],
    setupFiles: ["test/setup.ts"],
    provide: { deep: mode === "deep", service },
    // ends what hangs; no test may come near it, however slow or busy the machine is
    testTimeout: 900_000
  }
}))
