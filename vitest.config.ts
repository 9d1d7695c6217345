import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"
import { deepLaws } from "./test/checks/deepLaws.js"
import { define } from "./test/checks/environment.js"
import { pages } from "./test/checks/pages.js"

const path = (name: string) => fileURLToPath(new URL(name, import.meta.url))

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
    include: mode === "deep" ? deepLaws() : ["test/**/*.test.ts", "docs/testing*.md"],
    pool: "forks",
    poolOptions: { forks: { minForks: 1, maxForks: 2 } },
    globalSetup: ["test/bundle.ts"],
    setupFiles: ["test/setup.ts"],
    provide: { deep: mode === "deep", service },
    // ends what hangs; no test may come near it, however slow or busy the machine is
    testTimeout: 900_000
  }
}))
