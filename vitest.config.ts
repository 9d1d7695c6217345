import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"
import { define } from "./test/checks/environment.js"
import { pages } from "./test/checks/pages.js"

const path = (name: string) => fileURLToPath(new URL(name, import.meta.url))

const { seed, service } = define()

export default defineConfig(({ mode }) => {
  const isDeep = mode === "deep"
  // ends what hangs, while the rest goes on; nothing may come near it, however slow or busy the machine is
  const timeouts = { testTimeout: 600_000, hookTimeout: 600_000 }
  return {
    test: {
      reporters: ["default", "./test/checks/counts.ts"],
      slowTestThreshold: 5_000,
      poolOptions: {
        // the files of a worker share what they import: most of them take longer to load it than to run
        forks: {
          isolate: false,
          minForks: 4,
          maxForks: 4,
          // a tenth of the time went to the collection of short-lived objects
          execArgv: ["--max-semi-space-size=64"]
        },
        vmForks: { minForks: 1, maxForks: 1 }
      },
      projects: [
        {
          plugins: [pages()],
          resolve: {
            alias: [
              { find: /^effect-queue-status$/, replacement: path("src/index.ts") },
              { find: /^effect-queue-status\/(\w+)$/, replacement: path("src/$1/index.ts") }
            ]
          },
          test: {
            name: "unit",
            include: ["test/**/*.test.ts", "docs/testing*.md"],
            pool: "forks",
            globalSetup: ["test/bundle.ts"],
            setupFiles: ["test/setup.ts"],
            provide: { deep: isDeep, fleet: mode === "fleet", seed: seed(isDeep), service },
            ...timeouts
          }
        },
        {
          test: {
            name: "checks",
            include: ["test/checks/*.check.ts"],
            pool: "vmForks", // another pool than that of the tests: it runs beside them, not before
            maxConcurrency: 2,
            ...timeouts
          }
        }
      ]
    }
  }
})
