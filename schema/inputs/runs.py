"""Inputs of the mutations of runs."""

import strawberry
from strawberry.scalars import JSON

from resolvers.flow_runs.start import StartRequest
from resolvers.flow_runs.waiting import MAX_WAIT_MS
from resolvers.values import MAX_TAGS
from schema.arguments import optional
from schema.enums import Environment, TriggerMethod

CALLBACK_URL = (
    "A URL to which the events of the run are sent, by default its end, signed with the secret of the project's"
    " endpoint of callbacks, which must exist. Retries of the run have it too, unless they have their own. No query"
    " shows it."
)
"""Describes the argument of all mutations that start a run."""


@strawberry.input(description="The run to start.")
class StartRunInput:
    """The run to start."""

    flow_id: strawberry.ID = strawberry.field(description="The flow. The run executes its published version.")
    input: JSON | None = optional(
        "The run's input, at most 1 MiB. It must match the `inputSchema` of the flow's definition. Default: `{}`."
    )
    environment: Environment = optional("PRODUCTION for a real execution, TESTING for a trial.", Environment.PRODUCTION)
    tags: list[str] = strawberry.field(
        default_factory=list,
        description=f"Tags for filters: at most {MAX_TAGS}, each of 1 to 200 characters.",
    )
    metadata: JSON | None = optional("A JSON object for filters, at most 64 KiB. Default: `{}`.")
    trigger_method: TriggerMethod | None = optional(
        "How the run is started. Default: API, or PARENT if the run has a parent. RETRY and RERUN are refused: "
        "use `retry` and `rerun`."
    )
    parent_run_id: strawberry.ID | None = optional(
        "The live run that starts this run. Default: the run that the header `ap-parent-run-id` names, if any."
    )
    fail_parent_on_failure: bool | None = optional(
        "True: if this run fails, its parent fails. Default: the header `ap-fail-parent-on-failure`, or else false."
    )
    external_id: str | None = optional("The client's own ID of the run: 1 to 200 characters. It need not be unique.")
    source: str | None = optional("The system that starts the run, in the client's words: 1 to 200 characters.")
    idempotency_key: str | None = optional(
        "Identifies repetitions of a request: only the first request with a key starts a run; the others return "
        "that run. Keys belong to a project. 1 to 200 characters. Default: every request starts a run."
    )
    callback_url: str | None = optional(CALLBACK_URL)
    wait_ms: int | None = optional(
        f"Waits for the end of the run before answering: milliseconds, at most {MAX_WAIT_MS:,}. After this time the"
        " mutation returns the run as it is. By default the mutation does not wait."
    )

    def to_domain(self) -> StartRequest:
        """Returns the request to start the run."""
        return StartRequest(
            flow_id=self.flow_id,
            input={} if self.input is None else self.input,
            environment=self.environment,
            tags=self.tags,
            metadata={} if self.metadata is None else self.metadata,
            trigger_method=self.trigger_method,
            parent_run_id=self.parent_run_id,
            fail_parent_on_failure=self.fail_parent_on_failure,
            external_id=self.external_id,
            source=self.source,
            idempotency_key=self.idempotency_key,
            callback_url=self.callback_url,
        )
