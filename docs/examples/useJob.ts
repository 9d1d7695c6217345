import { type Transition, watch, type WatchError } from "effect-queue-status/browser"
import { useEffect, useState } from "react"

export interface JobState {
  /** The last transition. */
  readonly last?: Transition
  /** From 0 to 1. */
  readonly progress?: number
  readonly isConnected: boolean
  /** Why the job can't be followed any more. */
  readonly error?: WatchError
}

/** The state of the job `MODEL/REQUEST_ID`, as it changes. */
export const useJob = (job: string, url = "/jobs"): JobState => {
  const [state, setState] = useState<JobState>({ isConnected: false })
  useEffect(() => {
    const controller = new AbortController()
    const { signal } = controller
    const follow = async () => {
      setState({ isConnected: false })
      for await (const event of watch({ url, job, signal })) {
        setState((state) => {
          switch (event._tag) {
            case "Connected":
            case "Disconnected":
              return { ...state, isConnected: event._tag === "Connected" }
            case "Trouble":
            case "Recovered":
            case "WatchFailed":
              return state
            case "Progressed":
              return { ...state, last: event, progress: event.progress ?? 0 }
            default:
              return { ...state, last: event }
          }
        })
      }
    }
    follow().catch((error) => signal.aborted || setState((state) => ({ ...state, error })))
    return () => controller.abort()
  }, [job, url])
  return state
}
