import { assert, describe, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { environment } from "./environment.js"
import { blocksOf } from "./snippets.js"

const path = (from: string) => fileURLToPath(new URL(from, import.meta.url))

interface Report {
  readonly testResults: ReadonlyArray<{
    readonly name: string
    readonly status: string
    readonly message: string
    readonly assertionResults: ReadonlyArray<{
      readonly fullName: string
      readonly status: string
      readonly failureMessages: ReadonlyArray<string>
    }>
  }>
}

describe("pages", () => {
  it("are run as tests, and fail at their own lines", async () => {
    const vitest = path("../../node_modules/vitest/vitest.mjs")
    const { stdout } = await promisify(execFile)(
      process.execPath,
      [vitest, "run", "--root", path("../fixtures/pages"), "--reporter=json"],
      { env: environment }
    ).catch((failed: { readonly stdout: string }) => failed)
    const { testResults }: Report = JSON.parse(stdout)
    const resultOf = (name: string) => testResults.find((result) => result.name.endsWith(name))

    const page = resultOf("page.md")
    assert.deepStrictEqual(page?.assertionResults.map(({ fullName, status }) => [fullName, status]), [
      ["Right (page.md:10) is right", "passed"],
      ["Wrong (page.md:20) is wrong", "failed"]
    ])
    const [failure] = page?.assertionResults[1]?.failureMessages ?? []
    assert.match(failure ?? "", /expected 41 to be 42[^]*page\.md:28:18/)

    assert.strictEqual(resultOf("empty.md")?.status, "failed")
    assert.strictEqual(resultOf("broken.md")?.status, "failed")
    const { assertionResults, status } = resultOf("nothing.md") ?? {}
    assert.deepStrictEqual([status, assertionResults?.map(({ status }) => status)], ["failed", ["passed"]])
  })

  it("have blocks, each with its heading and its first line", () => {
    const page = "# A\n```ts\na\n```\n```sh\n# no heading\n```\n## B\n\n```ts\n\nb\n```\n"
    assert.deepStrictEqual(blocksOf(page), [
      { heading: "A", line: 3, text: "a\n" },
      { heading: "B", line: 11, text: "\nb\n" }
    ])
  })

  it("are rejected if a block would be skipped", () => {
    assert.throws(() => blocksOf("```ts title=\"x\"\na\n```\n"), "not the beginning of a block")
    assert.throws(() => blocksOf("- a list\n\n  ```ts\n  a\n  ```\n"), "not the beginning of a block")
    assert.throws(() => blocksOf("```ts\na\n"), "not the beginning of a block")
  })
})
