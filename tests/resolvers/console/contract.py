"""The GraphQL contract of failures, pickers, comparisons, saved views and answer links: see `tests.schema.test_sdl`."""

TYPES = {
    "StatusCount": "status count",
    "FlowRunGroupStats": "key total byStatus flow flowVersion",
    "Actor": "kind id name",
    "FailureGroup": """fingerprint count unrecovered code message stepName firstSeenAt lastSeenAt sampleRun flows
        series""",
    "FlowCount": "flow count",
    "TimeCount": "start end count",
    "WaitingFor": "kind until blockedBy position",
    "RunComparison": "a b sameFlow sameVersion durationDifferenceMs input output metadata definition steps",
    "StepComparison": "name a b sameOutcome durationDifferenceMs definition input output",
    "JsonDifferences": "differences hasMore",
    "JsonDifference": "path kind a b",
    "SavedView": "id name isShared filter orderBy createdAt updatedAt createdBy updatedBy project",
    "SavedOrder": "field direction",
    "Pickers": "tags failedSteps errorCodes sources metadataKeys metadataValues",
    "PickerValues": "values isExact",
    "PickerMetadataValues": "values isExact",
    "PickerValue": "value count",
    "PickerMetadataValue": "value count",
}
ARGUMENTS = {
    "Query.inputRequests": "filter direction first after last before",
    "FailureGroup.series": "size from to timeZone",
    **{f"Pickers.{name}": "prefix first" for name in ("tags", "failedSteps", "errorCodes", "sources")},
    "Pickers.metadataKeys": "path prefix first",
    "Pickers.metadataValues": "path prefix first",
    "Query.pickers": "filter",
    "Query.savedViews": "projectId",
    "Mutation.createAnswerLink": "requestId expiresIn recipient",
    "Mutation.createSavedView": "name filter orderBy shared projectId",
    "Mutation.updateSavedView": "id name filter orderBy shared",
    "Mutation.deleteSavedView": "id",
    "Query.compareRuns": "a b",
    **{f"RunComparison.{name}": "first" for name in ("input", "output", "metadata", "definition")},
    **{f"StepComparison.{name}": "first" for name in ("input", "output", "definition")},
}
VALUES = {
    "JsonDifferenceKind": "ADDED REMOVED CHANGED",
}
UNIONS = {
    "CreateAnswerLinkResult": """CreateAnswerLinkSuccess InputRequestNotFound InputAlreadyAnswered InputExpired
        RunNotPaused TokenKeysMissing""",
    "CreateSavedViewResult": """CreateSavedViewSuccess SavedViewNameTaken ProjectRequired ProjectNotFound
        InputTooLarge""",
    "UpdateSavedViewResult": "UpdateSavedViewSuccess SavedViewNotFound SavedViewNameTaken InputTooLarge",
    "DeleteSavedViewResult": "DeleteSavedViewSuccess SavedViewNotFound",
}
