import { setImmediate } from "node:timers/promises"
import type { Reporter, TestCase, TestModule } from "vitest/node"

/** Prints the names of the skipped tests, which contain the reason, and the numbers of tests at the end of a run. */
export default class Counts implements Reporter {
  async onTestRunEnd(modules: ReadonlyArray<TestModule>, errors: ReadonlyArray<unknown>): Promise<void> {
    const tests = (state: ReturnType<TestCase["result"]>["state"], among = modules): ReadonlyArray<TestCase> =>
      among.flatMap((module) => Array.from(module.children.allTests(state)))
    // a module that cannot be loaded, or whose hooks fail, has no failed test
    const broken = modules.filter((module) => module.state() === "failed" && tests("failed", [module]).length === 0)
    const failed = tests("failed").length + broken.length + errors.length
    const skipped = tests("skipped")
    const rest = skipped.length > 0 ? `, ${skipped.length} skipped` : ""
    await setImmediate() // after the summary
    for (const { fullName } of skipped) console.log(`skipped: ${fullName}`)
    console.log(`${tests("passed").length} passed, ${failed} failed${rest}`)
  }
}
