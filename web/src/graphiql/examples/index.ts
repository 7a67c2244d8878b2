/** The tabs of a first visit. GraphiQL names a tab after its operation. */

import flows from './flows.graphql?raw'
import latestRuns from './latest-runs.graphql?raw'
import oneRunInFull from './one-run-in-full.graphql?raw'
import retry from './retry.graphql?raw'
import startARun from './start-a-run.graphql?raw'
import watchRuns from './watch-runs.graphql?raw'

export const EXAMPLES = [
  // GraphiQL does not show the variables of the first tab, so it has none.
  { query: flows },
  {
    query: startARun,
    variables: `{
  "input": {
    // Paste a flow's id here.
    "flowId": "",
    "input": {},
    "waitMs": 5000,
    "tags": ["example"]
  }
}`,
  },
  { query: watchRuns },
  {
    query: latestRuns,
    variables: `{
  "first": 20
}`,
  },
  {
    query: oneRunInFull,
    variables: `{
  // Paste a run's id here.
  "id": ""
}`,
  },
  {
    query: retry,
    variables: `{
  // Paste the id of a failed run here.
  "runId": "",
  "strategy": "FROM_FAILED_STEP"
}`,
  },
]
