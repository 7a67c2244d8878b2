"""The expected result of a mutation that starts a run from another one."""

import strawberry

from db.runs import children
from db.runs.children import ItemCounts
from resolvers.flow_runs import retry, start_check
from schema.enums import ErrorCode, RetryStrategy
from schema.fields import Info, field


@strawberry.type(description="Whether a mutation would start a run from this one, and what that run would execute.")
class StartCheck:
    """Whether a mutation would start a run from this one."""

    check: strawberry.Private[start_check.StartCheck]

    @field("True if the mutation would succeed now.")
    def allowed(self) -> bool:
        return self.check.reason is None

    @field(
        "The code of the error that the mutation would return; null if it is allowed.", graphql_type=ErrorCode | None
    )
    def reason(self) -> str | None:
        return self.check.reason

    @field(
        "Human-readable: why the mutation would be refused, or else what the new run would not repair or would "
        "repeat, such as a newer version that is not executed. Do not parse it: use `reason`. Null if there is "
        "nothing to report."
    )
    def message(self) -> str | None:
        return self.check.message

    @field("Number of steps whose results the new run would keep; 0 if the mutation is not allowed.")
    def reused_steps(self) -> int:
        return len(self.check.reused)

    @field("Number of steps that the new run would execute; 0 if the mutation is not allowed.")
    def rerun_steps(self) -> int:
        return len(self.check.rerun)

    @field("Names of the steps whose results the new run would keep, in order.")
    def reused_step_names(self) -> list[str]:
        return list(self.check.reused)

    @field("Names of the steps that the new run would execute, in order, unless one of them fails or is skipped.")
    def rerun_step_names(self) -> list[str]:
        return list(self.check.rerun)


@strawberry.type(description="Whether a run can be retried with a strategy, and which steps the retry would execute.")
class Retryability(StartCheck):
    """Whether a run can be retried with a strategy."""

    check: strawberry.Private[retry.Retryability]

    @field("The strategy of the retry.")
    def strategy(self) -> RetryStrategy:
        return self.check.strategy

    @field(
        "Number of loop items whose child runs the retry would keep, if their inputs stay the same; the loop is "
        "the step at which the run failed. Null if the run did not fail at a `flow` step, or the retry does not "
        "continue it."
    )
    async def reused_items(self, info: Info) -> int | None:
        counts = await self._items(info)
        return counts.kept if counts is not None else None

    @field(
        "Number of items of that loop whose child runs the retry would execute. Null in the same cases as "
        "`reusedItems`."
    )
    async def rerun_items(self, info: Info) -> int | None:
        counts = await self._items(info)
        return counts.executed if counts is not None else None

    async def _items(self, info: Info) -> ItemCounts | None:
        if not self.check.continues_loop:
            return None
        return await info.context.loaders.load(children.items_of_end_by_runs, self.check.run_id)


@strawberry.type(
    description="Whether the step at which the run ended can be completed by hand, and which steps would be "
    "executed behind it."
)
class Completability(StartCheck):
    """Whether a step can be completed by hand."""

    step: strawberry.Private[str | None]

    @field("The step that can be completed: the one at which the run ended. Null if there is none.")
    def step_name(self) -> str | None:
        return self.step
