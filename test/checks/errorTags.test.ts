/**
 * The tags of this package's errors differ from those of the packages that programs use with it: otherwise
 * `Effect.catchTag` would catch both.
 */
import { assert, it } from "@effect/vitest"
import { Array, Predicate } from "effect"
import * as Main from "effect-queue-status"
import { readdirSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"

const packages = ["platform", "rpc", "cluster", "workflow"]

const sourceOf = (name: string): ReadonlyArray<string> => {
  const folder = fileURLToPath(new URL(`../../node_modules/@effect/${name}/src`, import.meta.url))
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts"))
    .map((file) => readFileSync(`${folder}/${file}`, "utf8"))
}

const declared =
  /(?:TaggedError|TypeIdError|RefailError)\b[^{]{0,160}?"([A-Z]\w+)"|EmptyError<\w+>\(\)\(\{\s*tag: "(\w+)"/g

const theirs = new Map(
  packages.flatMap((name) =>
    sourceOf(name).flatMap((text) =>
      Array.map(Array.fromIterable(text.matchAll(declared)), ([, tag, empty]) => [tag ?? empty!, name] as const)
    )
  )
)

// the name of a class is its tag
const tagsOf = (module: object): ReadonlyArray<string> =>
  Object.values(module).flatMap((member) =>
    Predicate.isFunction(member) && member.prototype instanceof Error ? [member.name] : []
  )

const ours = Object.values(Main).flatMap(tagsOf)

it("no error of this package has the tag of another package's error", () => {
  // errors that both sides must contain, so that the comparison is not empty
  assert.includeMembers([...theirs.keys()], [
    "NotFound",
    "RequestTimeout",
    "SystemError",
    "RpcClientError",
    "MailboxFull"
  ])
  assert.includeMembers(ours, [
    "JobNotFound",
    "RateLimited",
    "WatchTimeout",
    "JobFailed",
    "StageFailed",
    "JournalError"
  ])
  assert.deepStrictEqual(ours.filter((tag) => theirs.has(tag)).map((tag) => `${tag} of ${theirs.get(tag)}`), [])
})
