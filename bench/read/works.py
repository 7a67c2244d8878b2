"""The three reads that are measured, as GraphQL documents of the service and of each peer."""

from dataclasses import dataclass

RUN_FIELDS = """id status environment triggerMethod createdAt startedAt finishedAt updatedAt durationMs attempt
    failedStepName externalId tags metadata output"""
NESTED_FIELDS = "id status createdAt durationMs flow { id name } steps { name kind status durationMs }"


@dataclass(frozen=True)
class Work:
    """One read: its letter in the tables, what it is, and its document."""

    name: str
    title: str
    document: str


LIST = Work("a", "100 runs, 15 fields", f"{{ flowRuns(first: 100) {{ nodes {{ {RUN_FIELDS} }} }} }}")
NESTED = Work("b", "25 runs with flow and 3 steps", f"{{ flowRuns(first: 25) {{ nodes {{ {NESTED_FIELDS} }} }} }}")
ONE = Work("c", "one run with flow and steps", f"query ($id: ID!) {{ flowRun(id: $id) {{ {NESTED_FIELDS} }} }}")
WORKS = (LIST, NESTED, ONE)
