import { HttpClient, HttpClientResponse } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Effect, FastCheck, Predicate, Redacted, type Schema } from "effect"
import * as Main from "effect-queue-status"
import { Job, JobQueue, QueueError } from "effect-queue-status"
import { readdirSync, readFileSync } from "node:fs"
import { dirname, join, relative } from "node:path"
import { fileURLToPath } from "node:url"
import ts from "typescript"

const root = fileURLToPath(new URL("..", import.meta.url))

const pages = [
  "README.md",
  ...readdirSync(join(root, "docs")).filter((name) => name.endsWith(".md")).map((name) => join("docs", name))
]

const read = (page: string) => readFileSync(join(root, page), "utf8")

/** The anchors of the headings of a page, as GitHub makes them. */
const anchorsOf = (page: string) =>
  Array.from(
    read(page).replace(/^```[^]*?^```$/gm, "").matchAll(/^#+ (.+)$/gm),
    ([, title = ""]) => title.toLowerCase().replace(/[^\p{L}\p{N}\s_-]/gu, "").replaceAll(" ", "-")
  )

/** The result of a predicate for errors: yes, no, or the exception that explains the rest; a dash without errors. */
const judge = <E>(
  errors: ReadonlyArray<E>,
  holds: Predicate.Predicate<E>,
  exceptions: { readonly [name: string]: Predicate.Predicate<E> }
) => {
  if (errors.length === 0) return "–"
  if (errors.every(holds)) return "yes"
  if (!errors.some(holds)) return "no"
  return Object.keys(exceptions).find((name) => errors.every((error) => holds(error) === !exceptions[name]!(error)))
}

/** The TypeScript blocks of a page and the results of its diffs, each as the name and text of a module. */
const blocks = (page: string) =>
  Array.from(
    read(page).matchAll(/^```(ts|python|diff)\n([^]*?)^```$/gm),
    ([, language, text = ""], i) =>
      [
        join(root, `${page}.${i + 1}.ts`),
        language === "diff" ? text.replace(/^-.*\n/gm, "").replace(/^[ +]/gm, "") : text
      ] as const
  )

const examples = readdirSync(join(root, "docs/examples"))
  .filter((name) => /\.(ts|py)$/.test(name))
  .map((name) => [name, readFileSync(join(root, "docs/examples", name), "utf8")] as const)

describe("the code in the documents", () => {
  it("is run: the pages about testing are test files, and the README shows only blocks of them", () => {
    const tests = pages.filter((page) => page.startsWith("docs/testing"))
    assert.include(tests, "docs/testing.md")
    const run = new Set(tests.flatMap(blocks).map(([, text]) => text))
    const shown = blocks("README.md").filter(([, text]) => text.includes("TestJobQueue"))
    assert.isAbove(shown.length, 0)
    for (const [name, text] of shown) {
      assert(run.has(text), `${relative(root, name)} is not run: not a block of the guide`)
    }
  })

  it("includes every example in full on a page", () => {
    const shown = new Set(pages.flatMap(blocks).map(([, text]) => text))
    assert.isAbove(examples.length, 1)
    for (const [name, text] of examples) assert(shown.has(text), `${name} is on no page as it is`)
  })

  it("includes the base of each diff on the same page", () => {
    const diffs = pages.flatMap((page) =>
      Array.from(read(page).matchAll(/^```diff\n([^]*?)^```$/gm), ([, text = ""]) => ({ page, text }))
    )
    assert.isAbove(diffs.length, 0)
    for (const { page, text } of diffs) {
      const before = text.replace(/^\+.*\n/gm, "").replace(/^[ -]/gm, "")
      assert.include(blocks(page).map(([, text]) => text), before, page)
    }
  })

  it("links to existing pages and headings", () => {
    for (const page of pages) {
      for (const [, path = "", anchor] of read(page).matchAll(/\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)/g)) {
        const target = path === "" ? page : join(dirname(page), path)
        assert(ts.sys.fileExists(join(root, target)), `${page} links to ${target}`)
        if (anchor !== undefined) assert.include(anchorsOf(target), anchor, `${page} links to ${target}#${anchor}`)
      }
    }
  })

  it("installs packages with a newer major release only with a version", () => {
    const sources = readdirSync(join(root, "src"), { encoding: "utf8", recursive: true })
      .filter((name) => name.endsWith(".ts"))
      .map((name) => join("src", name))
    const lines = [...pages, ...sources].flatMap((name) =>
      Array.from(
        readFileSync(join(root, name), "utf8").matchAll(/(?:npm (?:install|i)|pnpm add) ([^#`\n]*)/g),
        ([line, packages = ""]) => ({ line: `${name}: ${line}`, packages: packages.trim().split(/\s+/) })
      )
    )
    assert.isAbove(lines.length, 2)
    const unversioned = lines.filter(({ packages }) =>
      packages.some((name) => /^(effect|@effect\/[\w-]+|vitest)$/.test(name))
    )
    assert.deepStrictEqual(unversioned.map(({ line }) => line), [])
  })
})

describe("the guides", () => {
  // the README lists them in their order
  const order = Array.from(
    read("README.md").matchAll(/^\d+\. \[(.+?)\]\(docs\/(.+?)\)/gm),
    ([, title, file]) => `[${title}](${file})`
  )

  it("are all in the list of the README", () => {
    const listed = order.map((link) => link.replace(/.*\((.*)\)/, "docs/$1"))
    assert.sameMembers(listed, pages.filter((page) => page !== "README.md"))
  })

  it("state what a reader can do after them, and end with links to the previous and the next one", () => {
    const ends = ["[the README](../README.md)", ...order, "[the changelog](../CHANGELOG.md)"]
    for (const [i, link] of order.entries()) {
      const page = link.replace(/.*\((.*)\)/, "docs/$1")
      assert.match(read(page), /^# .+\n\nAfter this page you /, page)
      assert.strictEqual(read(page).trimEnd().split("\n").at(-1), `Previous: ${ends[i]} · next: ${ends[i + 2]}`, page)
    }
  })
})

describe("the table of errors", () => {
  const rows = Array.from(
    read("docs/errors.md").matchAll(/^\| `(\w+)` \| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$/gm),
    ([, tag = "", when = "", , transient = "", submitted = ""]) => ({ tag, when, transient, submitted })
  )

  it("has a row for each error", () => {
    // the name of a class is its tag
    const classes = Object.values(Main).flatMap((module: object) => Object.values(module)).filter((member) =>
      Predicate.isFunction(member) && member.prototype instanceof Error
    )
    assert.sameMembers(rows.map(({ tag }) => tag), classes.map(({ name }) => name))
  })

  it("is right about what is transient, and about what a failed submit may have done", () => {
    const sampleOf = <A>(schema: Schema.Schema<A, any>, numRuns: number) =>
      FastCheck.sample(Arbitrary.make(schema), { numRuns, seed: 1 })
    const all = [...sampleOf(QueueError.QueueError, 1_000), ...sampleOf(QueueError.RunError, 200)]
    const tagsOfSubmit = new Set(sampleOf(QueueError.SubmitError, 200).map(({ _tag }) => _tag))
    const isOfSubmit = (error: QueueError.RunError): error is QueueError.SubmitError =>
      (tagsOfSubmit as ReadonlySet<string>).has(error._tag)
    for (const { submitted, tag, transient } of rows) {
      // a random status code is rarely 503
      const errors = all.filter(({ _tag }) => _tag === tag).flatMap((error): ReadonlyArray<QueueError.RunError> => [
        error,
        ..."httpStatus" in error ? [Object.assign(Object.create(error), { httpStatus: 503 })] : []
      ])
      const polls = errors.filter((error) => !("operation" in error) || error.operation !== "submit")
      assert.strictEqual(
        transient,
        judge(polls, QueueError.isTransient, {
          "unless `transient: false`": (error) => "transient" in error && error.transient === false
        }),
        tag
      )
      assert.strictEqual(
        submitted,
        judge(errors.filter(isOfSubmit), QueueError.mayHaveArrived, {
          "unless `sent: false`": (error) => "sent" in error && error.sent === false,
          "unless 503 with `retryAfter`": (error) =>
            error._tag === "Unavailable" && error.httpStatus === 503 && error.retryAfter !== undefined
        }),
        tag
      )
    }
  })

  it.effect("is right about status codes", () =>
    Effect.gen(function*() {
      const codes = rows.flatMap(({ tag, when }) =>
        Array.from(when.matchAll(/\b[45]\d\d\b/g), ([code]) => ({ tag, code: Number(code) }))
      )
      assert.isAbove(codes.length, 10)
      for (const { code, tag } of codes) {
        const client = HttpClient.make((request) =>
          Effect.succeed(HttpClientResponse.fromWeb(request, new Response("", { status: code })))
        )
        const queue = yield* JobQueue.make({ apiKey: Redacted.make("any") }).pipe(
          Effect.provideService(HttpClient.HttpClient, client)
        )
        const error = yield* Effect.flip(queue.status(Job.ref("my-org/adder", "1")))
        assert.strictEqual(error._tag, tag, String(code))
      }
    }))
})
