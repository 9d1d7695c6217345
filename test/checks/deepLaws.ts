import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const tests = fileURLToPath(new URL("..", import.meta.url))

/** The test files whose laws are tried more often by `npm run test:deep`. */
export const deepLaws = (): Array<string> =>
  readdirSync(tests, { encoding: "utf8", recursive: true })
    .filter((name) => name.endsWith(".test.ts") && readFileSync(join(tests, name), "utf8").includes("/runs.js\""))
    .map((name) => `test/${name}`)
