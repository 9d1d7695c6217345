import { assert, describe, it } from "@effect/vitest"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { examplesOf, idOf } from "./snippets.js"

const src = fileURLToPath(new URL("../../src", import.meta.url))

const modules = readdirSync(src, { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".ts"))
  .map((name) => [name, readFileSync(join(src, name), "utf8")] as const)

describe("the examples of the doc comments", () => {
  it("are all found", () => {
    const written = modules.flatMap(([, text]) => text.match(/@example\b/g) ?? [])
    assert.isAbove(written.length, 0)
    assert.strictEqual(modules.flatMap(([, text]) => examplesOf(text)).length, written.length)
  })

  for (const [name, text] of modules) {
    for (const [i, { line }] of examplesOf(text).entries()) {
      it(`run: ${name}:${line}`, () => import(idOf(join(src, name), i + 1)))
    }
  }
})
