import { setImmediate } from "node:timers/promises"
import type { Reporter, TestCase, TestModule } from "vitest/node"

/** Ends what a run prints with how many tests there were, after the names of those that were skipped: they say why. */
export default class Counts implements Reporter {
  async onTestRunEnd(modules: ReadonlyArray<TestModule>, errors: ReadonlyArray<unknown>): Promise<void> {
    const tests = (state: ReturnType<TestCase["result"]>["state"], among = modules): ReadonlyArray<TestCase> =>
      among.flatMap((module) => Array.from(module.children.allTests(state)))
    // one that can't be loaded, or whose hooks fail, has no failed test
    const broken = modules.filter((module) => module.state() === "failed" && tests("failed", [module]).length === 0)
    const failed = tests("failed").length + broken.length + errors.length
    const skipped = tests("skipped")
    const rest = skipped.length > 0 ? `, ${skipped.length} skipped` : ""
    await setImmediate() // after the summary
    for (const { fullName } of skipped) console.log(`skipped: ${fullName}`)
    console.log(`${tests("passed").length} passed, ${failed} failed${rest}`)
  }
}
