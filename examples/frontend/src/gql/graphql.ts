/* eslint-disable */
/** Internal type. DO NOT USE DIRECTLY. */
type Exact<T extends { [key: string]: unknown }> = { [K in keyof T]: T[K] };
/** Internal type. DO NOT USE DIRECTLY. */
export type Incremental<T> = T | { [P in keyof T]?: P extends ' $fragmentName' | '__typename' ? T[P] : never };
import type { TypedDocumentNode as DocumentNode } from '@graphql-typed-document-node/core';
/** How a filter treats archived runs. */
export type Archived =
  /** Matches runs that are not archived. */
  | 'EXCLUDE'
  /** Matches all runs, archived or not. */
  | 'INCLUDE'
  /** Matches archived runs only. */
  | 'ONLY';

/** A filter of runs. Fields are ANDed, the values of a list are ORed, except `tags` and `metadataConditions`. A field that is null, omitted or blank restricts nothing, except `archived`. Blank values are an empty text, an empty object, false, `minDurationMs: 0` and an empty filter. An empty list matches no run. A run without a value, for instance without `startedAt`, does not match a condition on it, so it matches the `not` of the condition. */
export type FlowRunFilter = {
  /** Runs that have at least one of these tags. */
  anyTags?: Array<string> | null | undefined;
  /** How archived runs are treated. By default EXCLUDE; with `ids`, and within `not` and `or`, INCLUDE. */
  archived?: Archived | null | undefined;
  /** Runs created at or after this instant. */
  createdAfter?: string | null | undefined;
  /** Runs created before this instant. */
  createdBefore?: string | null | undefined;
  /** Runs created within this duration before now: a duration in ISO 8601, such as `PT15M`, `P1D` or `P1M`. In a stream, before the event. */
  createdWithin?: string | null | undefined;
  /** Runs in one of these environments. */
  environments?: Array<RunEnvironment> | null | undefined;
  /** Runs whose error message contains this text (case-insensitive). */
  errorContains?: string | null | undefined;
  /** Runs whose error has this fingerprint, as `FlowRun.error.fingerprint` returns it. */
  errorFingerprint?: string | null | undefined;
  /** Runs with one of these external IDs. */
  externalIds?: Array<string> | null | undefined;
  /** Runs that failed at the step with this name. */
  failedStepName?: string | null | undefined;
  /** Runs finished at or after this instant. */
  finishedAfter?: string | null | undefined;
  /** Runs finished before this instant. */
  finishedBefore?: string | null | undefined;
  /** Runs finished within this duration before now: a duration in ISO 8601, such as `PT15M`, `P1D` or `P1M`. In a stream, before the event. */
  finishedWithin?: string | null | undefined;
  /** Runs of one of these flows. */
  flowIds?: Array<string | number> | null | undefined;
  /** Runs that execute one of these flow versions. */
  flowVersionIds?: Array<string | number> | null | undefined;
  /** Runs with one of these IDs. */
  ids?: Array<string | number> | null | undefined;
  /** If true, the same as `archived: INCLUDE`. Ignored when `archived` is given. By default false. */
  includeArchived?: boolean | null | undefined;
  /** Runs that took at most this many milliseconds; live runs count until now. */
  maxDurationMs?: number | null | undefined;
  /** Runs whose metadata contains this JSON object, at any depth. */
  metadata?: unknown;
  /** Runs whose metadata meets all of these conditions. */
  metadataConditions?: Array<MetadataCondition> | null | undefined;
  /** Runs that took at least this many milliseconds; live runs count until now. */
  minDurationMs?: number | null | undefined;
  /** Runs that do not match this filter. Ignored if it is empty. */
  not?: FlowRunFilter | null | undefined;
  /** Runs that match at least one of these filters. Ignored if one of them is empty, because every run matches it. */
  or?: Array<FlowRunFilter> | null | undefined;
  /** Runs started by this run. */
  parentRunId?: string | number | null | undefined;
  /** Runs of these projects. Only for operator keys. Ignored for all other keys, which always see their own project. */
  projectIds?: Array<string | number> | null | undefined;
  /** Direct reruns of this run. */
  rerunOfId?: string | number | null | undefined;
  /** Direct retries of this run; not retries of its retries. */
  retryOfId?: string | number | null | undefined;
  /** The run with this ID, which has no parent run, and all its descendants: the runs with this `rootRun`. */
  rootRunId?: string | number | null | undefined;
  /** If true, only runs without a parent run. By default false. */
  rootsOnly?: boolean | null | undefined;
  /** Runs started by one of these schedules, and their retries. */
  scheduleIds?: Array<string | number> | null | undefined;
  /** Runs with one of these sources: see `FlowRun.source`. */
  sources?: Array<string> | null | undefined;
  /** Runs started at or after this instant. */
  startedAfter?: string | null | undefined;
  /** Runs started before this instant. */
  startedBefore?: string | null | undefined;
  /** Runs started within this duration before now: a duration in ISO 8601, such as `PT15M`, `P1D` or `P1M`. In a stream, before the event. */
  startedWithin?: string | null | undefined;
  /** Runs that have one of these statuses. */
  statuses?: Array<FlowRunStatus> | null | undefined;
  /** Runs that have all of these tags. */
  tags?: Array<string> | null | undefined;
  /** Runs started in one of these ways. */
  triggerMethods?: Array<TriggerMethod> | null | undefined;
  /** If true, only runs that ended without success and have no successful retry. By default false. */
  unrecovered?: boolean | null | undefined;
  /** Runs changed at or after this instant, as `FlowRun.updatedAt` says. For incremental synchronisation, order by UPDATED_AT. */
  updatedAfter?: string | null | undefined;
  /** Runs last changed before this instant. */
  updatedBefore?: string | null | undefined;
  /** Runs changed within this duration before now: a duration in ISO 8601, such as `PT15M`, `P1D` or `P1M`. In a stream, before the event. */
  updatedWithin?: string | null | undefined;
  /** Live runs that wait for one of these: see `FlowRun.waitingFor`. When a run begins to wait for a worker, a slot or a retry, there is no event: a stream reports the run at its next change. */
  waitingFor?: Array<WaitKind> | null | undefined;
  /** Runs started by one of these webhooks, and their retries. */
  webhookIds?: Array<string | number> | null | undefined;
};

/** Status of a flow run. QUEUED, RUNNING and PAUSED are live; all others are final and never change. */
export type FlowRunStatus =
  /** A step failed, or the output of the flow could not be rendered. */
  | 'FAILED'
  /** The service could not execute the run, for example because its workers were lost again and again. */
  | 'INTERNAL_ERROR'
  /** The run waits for a person's input, for a time, or for child runs. */
  | 'PAUSED'
  /** The run waits for a worker. */
  | 'QUEUED'
  /** The project had used up its quota of runs. No step was executed. */
  | 'QUOTA_EXCEEDED'
  /** A worker executes the run, or the run waits for the next attempt at a step. */
  | 'RUNNING'
  /** The run was cancelled. */
  | 'STOPPED'
  /** Every step succeeded, was skipped, or failed with `continueOnFailure`. */
  | 'SUCCEEDED'
  /** The run took longer than its time limit. */
  | 'TIMEOUT';

/** Conditions on one value in the metadata of a run. Fields are ANDed; a field that is null, blank or omitted restricts nothing. In metadata, null counts as no value. */
export type MetadataCondition = {
  /** The value is a number greater than or equal to this one. */
  atLeast?: number | null | undefined;
  /** The value is a number less than or equal to this one. */
  atMost?: number | null | undefined;
  /** The value is this string, number or boolean. */
  equals?: unknown;
  /** If true, a value exists; if false, no value exists. */
  exists?: boolean | null | undefined;
  /** The value is a number greater than this one. */
  greaterThan?: number | null | undefined;
  /** The value is one of these strings, numbers and booleans; no run matches an empty list. */
  in?: Array<unknown> | null | undefined;
  /** The value is a number less than this one. */
  lessThan?: number | null | undefined;
  /** The keys that lead to the value, separated by full stops: `customer.id`. A full stop within a key is written `\.`, a backslash `\\`. Elements of lists cannot be addressed. */
  path: string;
  /** The value is a string that begins with this text (case-sensitive). */
  prefix?: string | null | undefined;
};

/** The environment of a run. It separates real executions of a flow from trials. */
export type RunEnvironment =
  /** A real execution. */
  | 'PRODUCTION'
  /** A trial. */
  | 'TESTING';

/** What started a run. */
export type TriggerMethod =
  /** A program called `startRun`. */
  | 'API'
  /** A person called `startRun`, for example in the console. The caller of `startRun` states this. */
  | 'MANUAL'
  /** A step of another run started it. */
  | 'PARENT'
  /** Another run was run again. */
  | 'RERUN'
  /** Another run was retried. */
  | 'RETRY'
  /** A schedule. */
  | 'SCHEDULE'
  /** A webhook was called. */
  | 'WEBHOOK';

/** What a live run waits for. */
export type WaitKind =
  /** The run waits for the end of child runs. */
  | 'CHILDREN'
  /** The run waits for the response to an input request. */
  | 'PERSON'
  /** The run waits for the release of its flow or project, whose starts are held. */
  | 'RELEASE'
  /** The run waits for the next attempt at a failed step. */
  | 'RETRY'
  /** The run waits for a slot of the concurrency limit of its flow or project. */
  | 'SLOT'
  /** The run waits for an instant, such as the end of a delay. */
  | 'TIME'
  /** The run is due, and no worker has claimed it yet. */
  | 'WORKER';

export type ListQueryVariables = Exact<{
  filter?: FlowRunFilter | null | undefined;
  first: number;
}>;


export type ListQuery = { flowRuns: { nodes: Array<{ id: string, status: FlowRunStatus, summary: string | null, createdAt: string, flow: { name: string } }> } };

export type RowFragment = { id: string, status: FlowRunStatus, summary: string | null, createdAt: string, flow: { name: string } };

export type LiveSubscriptionVariables = Exact<{
  filter?: FlowRunFilter | null | undefined;
  after?: string | null | undefined;
}>;


export type LiveSubscription = { flowRunStatusChanged:
    | { cursor: string }
    | { cursor: string, runId: string }
    | { cursor: string, runId: string, matches: boolean, run: { id: string, status: FlowRunStatus, summary: string | null, createdAt: string, flow: { name: string } } }
    | { cursor: string, runId: string, matches: boolean, run: { id: string, status: FlowRunStatus, summary: string | null, createdAt: string, flow: { name: string } } }
   };

export const RowFragmentDoc = {"kind":"Document","definitions":[{"kind":"FragmentDefinition","name":{"kind":"Name","value":"Row"},"typeCondition":{"kind":"NamedType","name":{"kind":"Name","value":"FlowRun"}},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"id"}},{"kind":"Field","name":{"kind":"Name","value":"status"}},{"kind":"Field","name":{"kind":"Name","value":"summary"}},{"kind":"Field","name":{"kind":"Name","value":"createdAt"}},{"kind":"Field","name":{"kind":"Name","value":"flow"},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"name"}}]}}]}}]} as unknown as DocumentNode<RowFragment, unknown>;
export const ListDocument = {"kind":"Document","definitions":[{"kind":"OperationDefinition","operation":"query","name":{"kind":"Name","value":"List"},"variableDefinitions":[{"kind":"VariableDefinition","variable":{"kind":"Variable","name":{"kind":"Name","value":"filter"}},"type":{"kind":"NamedType","name":{"kind":"Name","value":"FlowRunFilter"}}},{"kind":"VariableDefinition","variable":{"kind":"Variable","name":{"kind":"Name","value":"first"}},"type":{"kind":"NonNullType","type":{"kind":"NamedType","name":{"kind":"Name","value":"Int"}}}}],"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"flowRuns"},"arguments":[{"kind":"Argument","name":{"kind":"Name","value":"filter"},"value":{"kind":"Variable","name":{"kind":"Name","value":"filter"}}},{"kind":"Argument","name":{"kind":"Name","value":"first"},"value":{"kind":"Variable","name":{"kind":"Name","value":"first"}}}],"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"nodes"},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"FragmentSpread","name":{"kind":"Name","value":"Row"}}]}}]}}]}},{"kind":"FragmentDefinition","name":{"kind":"Name","value":"Row"},"typeCondition":{"kind":"NamedType","name":{"kind":"Name","value":"FlowRun"}},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"id"}},{"kind":"Field","name":{"kind":"Name","value":"status"}},{"kind":"Field","name":{"kind":"Name","value":"summary"}},{"kind":"Field","name":{"kind":"Name","value":"createdAt"}},{"kind":"Field","name":{"kind":"Name","value":"flow"},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"name"}}]}}]}}]} as unknown as DocumentNode<ListQuery, ListQueryVariables>;
export const LiveDocument = {"kind":"Document","definitions":[{"kind":"OperationDefinition","operation":"subscription","name":{"kind":"Name","value":"Live"},"variableDefinitions":[{"kind":"VariableDefinition","variable":{"kind":"Variable","name":{"kind":"Name","value":"filter"}},"type":{"kind":"NamedType","name":{"kind":"Name","value":"FlowRunFilter"}}},{"kind":"VariableDefinition","variable":{"kind":"Variable","name":{"kind":"Name","value":"after"}},"type":{"kind":"NamedType","name":{"kind":"Name","value":"String"}}}],"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"flowRunStatusChanged"},"arguments":[{"kind":"Argument","name":{"kind":"Name","value":"filter"},"value":{"kind":"Variable","name":{"kind":"Name","value":"filter"}}},{"kind":"Argument","name":{"kind":"Name","value":"after"},"value":{"kind":"Variable","name":{"kind":"Name","value":"after"}}}],"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"InlineFragment","typeCondition":{"kind":"NamedType","name":{"kind":"Name","value":"FlowRunStatusChanged"}},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"cursor"}},{"kind":"Field","name":{"kind":"Name","value":"runId"}},{"kind":"Field","name":{"kind":"Name","value":"matches"}},{"kind":"Field","name":{"kind":"Name","value":"run"},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"FragmentSpread","name":{"kind":"Name","value":"Row"}}]}}]}},{"kind":"InlineFragment","typeCondition":{"kind":"NamedType","name":{"kind":"Name","value":"FlowRunUpdated"}},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"cursor"}},{"kind":"Field","name":{"kind":"Name","value":"runId"}},{"kind":"Field","name":{"kind":"Name","value":"matches"}},{"kind":"Field","name":{"kind":"Name","value":"run"},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"FragmentSpread","name":{"kind":"Name","value":"Row"}}]}}]}},{"kind":"InlineFragment","typeCondition":{"kind":"NamedType","name":{"kind":"Name","value":"FlowRunDeleted"}},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"cursor"}},{"kind":"Field","name":{"kind":"Name","value":"runId"}}]}},{"kind":"InlineFragment","typeCondition":{"kind":"NamedType","name":{"kind":"Name","value":"CaughtUp"}},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"cursor"}}]}}]}}]}},{"kind":"FragmentDefinition","name":{"kind":"Name","value":"Row"},"typeCondition":{"kind":"NamedType","name":{"kind":"Name","value":"FlowRun"}},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"id"}},{"kind":"Field","name":{"kind":"Name","value":"status"}},{"kind":"Field","name":{"kind":"Name","value":"summary"}},{"kind":"Field","name":{"kind":"Name","value":"createdAt"}},{"kind":"Field","name":{"kind":"Name","value":"flow"},"selectionSet":{"kind":"SelectionSet","selections":[{"kind":"Field","name":{"kind":"Name","value":"name"}}]}}]}}]} as unknown as DocumentNode<LiveSubscription, LiveSubscriptionVariables>;