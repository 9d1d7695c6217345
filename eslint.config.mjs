import * as effect from "@effect/eslint-plugin"
import { defineConfig, globalIgnores } from "eslint/config"
import tseslint from "typescript-eslint"

/** Members that are traps wherever they are used. */
const never = (object, properties, message) => ({
  selector: `MemberExpression[object.name='${object}'][property.name=/^(${properties})$/]`,
  message
})

const syntax = [{
  selector: "CallExpression[callee.property.name='push'] > SpreadElement.arguments",
  message: "A spread in Array.push overflows the stack on a long array"
}]

// Of two values that can be iterated, chai looks at the properties only where there are as many of them, and then at what
// the iterators give: `None` is the same to it as any `Some`, however deep they are. Caught where they are written out.
const value = ":matches(CallExpression[callee.object.name='Option'][callee.property.name=/^(some|none)$/], " +
  "CallExpression[callee.object.name='Job'][callee.property.name=/^[A-Z]/])"
const vacuous = ["", "> ArrayExpression", "> ObjectExpression > Property"].map((path) => ({
  selector: `CallExpression[callee.object.name='assert'][callee.property.name=/deep/i] ${path} > ${value}`,
  message: "Passes for None where Some is expected: assertSome, assertNone, deepStrictEqual of @effect/vitest/utils"
}))

const inSrc = [
  ...syntax,
  never("Effect", "forkDaemon|forkIn|forkScoped", "Hang in a finalizer: see queue/internal/fiber.ts"),
  never("Effect", "Service", "Context.Tag"),
  never("Stream", "asyncPush|schedule|retry|share", "Eager, stale, starts over, or hangs: see Schedule.driver"),
  never("HttpClient", "retryTransient", "Runs a job twice, and leaks unread bodies")
]

// The wall clock may be set at any time: what is measured with it is wrong then.
const noClocks = [
  "MemberExpression[property.name=/^(unsafeC|c)urrentTimeMillis$/]",
  "MemberExpression[object.name='DateTime'][property.name=/^(now|unsafeNow)$/]"
].map((selector) => ({ selector, message: "Intervals are of monotonic time: see model/internal/time.ts" }))

export default defineConfig(
  globalIgnores(["dist", "site", "coverage", ".cache"]),
  { linterOptions: { reportUnusedDisableDirectives: "error" } },
  tseslint.configs.recommended,
  effect.configs.dprint,
  {
    rules: {
      "eqeqeq": ["error", "always", { null: "ignore" }],
      "no-constant-condition": ["error", { checkLoops: false }],
      "no-duplicate-imports": ["error", { allowSeparateTypeImports: true }],
      "no-restricted-syntax": ["error", ...syntax],
      "no-unreachable": "error",
      "object-shorthand": "error",
      "require-yield": "off",
      "@typescript-eslint/array-type": ["error", { default: "generic", readonly: "generic" }],
      "@typescript-eslint/consistent-type-imports": ["error", { disallowTypeAnnotations: false }],
      "@typescript-eslint/no-empty-object-type": "off",
      "@typescript-eslint/no-import-type-side-effects": "error",
      "@typescript-eslint/no-namespace": "off",
      "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_", varsIgnorePattern: "^_" }],
      "@effect/dprint": ["error", {
        config: {
          "indentWidth": 2,
          "lineWidth": 120,
          "semiColons": "asi",
          "quoteStyle": "alwaysDouble",
          "trailingCommas": "never",
          "operatorPosition": "maintain",
          "arrowFunction.useParentheses": "force"
        }
      }]
    }
  },
  {
    files: ["src/**"],
    rules: {
      "no-console": "error",
      "no-restricted-syntax": ["error", ...inSrc],
      "@effect/no-import-from-barrel-package": ["error", {
        packageNames: ["effect", "@effect/platform", "@effect/platform-node", "@effect/rpc", "@effect/cli"]
      }]
    }
  },
  {
    files: ["model", "queue", "policy", "watch", "run", "testing"].map((room) => `src/${room}/**`),
    rules: { "no-restricted-globals": ["error", "Buffer", "global", "process", "require", "setImmediate"] }
  },
  {
    files: [
      "src/watch/**",
      "src/cluster/**",
      "src/policy/internal/scheduleDriver.ts",
      "src/node/internal/**",
      "src/testing/internal/{inMemoryQueue,longPoll}.ts"
    ],
    rules: { "no-restricted-syntax": ["error", ...inSrc, ...noClocks] }
  },
  {
    files: ["test/**", "docs/**"],
    rules: { "@typescript-eslint/no-explicit-any": "off" }
  },
  {
    files: ["test/**"],
    rules: { "no-restricted-syntax": ["error", ...syntax, ...vacuous] }
  },
  {
    files: ["test/**/*.ts"],
    ignores: ["test/checks/environment.ts", "test/bench/**"],
    rules: {
      "no-restricted-syntax": [
        "error",
        ...syntax,
        ...vacuous,
        never("process", "env", "No test depends on the caller's environment: see test/checks/environment.ts")
      ]
    }
  },
  {
    files: ["**/*.mjs"],
    languageOptions: {
      globals: { URL: false, clearTimeout: false, console: false, process: false, setTimeout: false }
    },
    rules: { "no-undef": "error" }
  }
)
