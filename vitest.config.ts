import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"
import { pages } from "./test/checks/pages.js"

const src = (path: string) => fileURLToPath(new URL(`./src/${path}`, import.meta.url))

export default defineConfig({
  plugins: [pages()],
  resolve: {
    alias: [
      { find: /^effect-queue-status$/, replacement: src("index.ts") },
      { find: /^effect-queue-status\/(testing|emulator|node)$/, replacement: src("$1/index.ts") }
    ]
  },
  test: {
    include: ["test/**/*.test.ts", "docs/testing*.md"],
    pool: "forks",
    poolOptions: { forks: { minForks: 1, maxForks: 2 } },
    globalSetup: ["test/bundle.ts"],
    setupFiles: ["test/setup.ts"],
    testTimeout: 60_000
  }
})
