"""Mutations of what starts runs by itself: schedules and webhooks."""

from typing import Annotated, Any
from uuid import UUID

import strawberry

from domain.errors import (
    FlowNotFoundError,
    InputInvalidError,
    InputTooLargeError,
    InvalidArgumentError,
    ScheduleInvalidError,
    ScheduleNotFoundError,
    WebhookNotFoundError,
)
from resolvers import schedules, webhooks
from resolvers.webhooks import Issued, Signature
from schema.enums import Environment, Role
from schema.fields import Info, columns_of
from schema.inputs import CreateScheduleInput, UpdateScheduleInput
from schema.roles import mutation
from schema.types.flow import Schedule, Webhook


def _arg(description: str) -> Any:
    return strawberry.argument(description=description)


@strawberry.type(description="The schedule, created.")
class CreateScheduleSuccess:
    """The schedule, created."""

    schedule: Schedule = strawberry.field(description="The new schedule.")


@strawberry.type(description="The schedule, changed.")
class UpdateScheduleSuccess:
    """The schedule, changed."""

    schedule: Schedule = strawberry.field(description="The schedule as it is now.")


@strawberry.type(description="The schedule, deleted.")
class DeleteScheduleSuccess:
    """The schedule, deleted."""

    schedule_id: strawberry.ID = strawberry.field(description="The ID that it had.")


@strawberry.type(description="The webhook, created.")
class CreateWebhookSuccess:
    """The webhook, created."""

    webhook: Webhook = strawberry.field(description="The new webhook.")
    token: str = strawberry.field(description="Its token, which cannot be read again.")
    path: str = strawberry.field(description="Where it is called, from the root of this service; holds the token.")


@strawberry.type(description="The webhook, with another token.")
class RotateWebhookSuccess:
    """The webhook, with another token."""

    webhook: Webhook = strawberry.field(description="The webhook as it is now.")
    token: str = strawberry.field(description="Its new token, which cannot be read again.")
    path: str = strawberry.field(description="Where it is called, from the root of this service; holds the token.")


@strawberry.type(description="The webhook, deleted.")
class DeleteWebhookSuccess:
    """The webhook, deleted."""

    webhook_id: strawberry.ID = strawberry.field(description="The ID that it had.")


CreateScheduleResult = Annotated[
    CreateScheduleSuccess | FlowNotFoundError | ScheduleInvalidError | InputInvalidError | InputTooLargeError,
    strawberry.union("CreateScheduleResult", description="The schedule, or why not."),
]
UpdateScheduleResult = Annotated[
    UpdateScheduleSuccess | ScheduleNotFoundError | ScheduleInvalidError | InputInvalidError | InputTooLargeError,
    strawberry.union("UpdateScheduleResult", description="The schedule, or why not."),
]
DeleteScheduleResult = Annotated[
    DeleteScheduleSuccess | ScheduleNotFoundError,
    strawberry.union("DeleteScheduleResult", description="What was deleted, or why not."),
]
CreateWebhookResult = Annotated[
    CreateWebhookSuccess | FlowNotFoundError,
    strawberry.union("CreateWebhookResult", description="The webhook, or why not."),
]
RotateWebhookResult = Annotated[
    RotateWebhookSuccess | WebhookNotFoundError,
    strawberry.union("RotateWebhookResult", description="The webhook, or why not."),
]
DeleteWebhookResult = Annotated[
    DeleteWebhookSuccess | WebhookNotFoundError,
    strawberry.union("DeleteWebhookResult", description="What was deleted, or why not."),
]


@strawberry.type(description="Writes of schedules and webhooks.")
class TriggerMutation:
    """A part of the root of mutations."""

    @mutation(Role.ADMIN, "Creates a schedule, which starts runs of a flow.")
    async def create_schedule(
        self,
        info: Info,
        input: Annotated[CreateScheduleInput, _arg("Which schedule is wanted.")],  # noqa: A002
    ) -> CreateScheduleResult:
        key = await schedules.create(info.context, input.flow_id, input.columns())
        return CreateScheduleSuccess(schedule=await _schedule(info, key))

    @mutation(
        Role.ADMIN,
        "Changes a schedule. Runs that were started go on; when its timing changes, it goes on from now.",
    )
    async def update_schedule(
        self,
        info: Info,
        input: Annotated[UpdateScheduleInput, _arg("What to change.")],  # noqa: A002
    ) -> UpdateScheduleResult:
        key = await schedules.update(info.context, input.id, input.columns())
        return UpdateScheduleSuccess(schedule=await _schedule(info, key))

    @mutation(Role.ADMIN, "Deletes a schedule. The runs that it started stay.")
    async def delete_schedule(
        self,
        info: Info,
        id: Annotated[strawberry.ID, _arg("The schedule.")],  # noqa: A002
    ) -> DeleteScheduleResult:
        await schedules.remove(info.context, id)
        return DeleteScheduleSuccess(schedule_id=id)

    @mutation(Role.ADMIN, "Creates a webhook: a secret URL that starts runs of a flow. Its token is shown once.")
    async def create_webhook(
        self,
        info: Info,
        flow_id: Annotated[strawberry.ID, _arg("The flow.")],
        name: Annotated[str, _arg("What to call the webhook, such as who calls it.")],
        environment: Annotated[Environment, _arg("Live executions, or trials.")] = Environment.PRODUCTION,
        signature_header: Annotated[
            str | None,
            _arg("The header that must bear the HMAC-SHA256 of the body, in hex or base64; with `signatureSecret`."),
        ] = None,
        signature_secret: Annotated[str | None, _arg("The secret by which the caller signs.")] = None,
    ) -> CreateWebhookResult:
        signature = _signature(signature_header, signature_secret)
        issued = await webhooks.create(info.context, flow_id, name, environment, signature)
        return CreateWebhookSuccess(webhook=await _webhook(info, issued.key), token=issued.token, path=_path(issued))

    @mutation(Role.ADMIN, "Gives a webhook another token, which is shown once. The one that it had ends at once.")
    async def rotate_webhook(
        self,
        info: Info,
        id: Annotated[strawberry.ID, _arg("The webhook.")],  # noqa: A002
    ) -> RotateWebhookResult:
        issued = await webhooks.rotate(info.context, id)
        return RotateWebhookSuccess(webhook=await _webhook(info, issued.key), token=issued.token, path=_path(issued))

    @mutation(Role.ADMIN, "Deletes a webhook. The runs that it started stay.")
    async def delete_webhook(
        self,
        info: Info,
        id: Annotated[strawberry.ID, _arg("The webhook.")],  # noqa: A002
    ) -> DeleteWebhookResult:
        await webhooks.remove(info.context, id)
        return DeleteWebhookSuccess(webhook_id=id)


def _signature(header: str | None, secret: str | None) -> Signature | None:
    if header is None and secret is None:
        return None
    if header is None or secret is None:
        raise InvalidArgumentError("`signatureHeader` and `signatureSecret` go together.")
    return Signature(header, secret)


def _path(issued: Issued) -> str:
    return f"/hooks/{issued.token}"


async def _schedule(info: Info, key: UUID) -> Schedule:
    return Schedule(row=await schedules.written(info.context, key, columns_of(info, Schedule, "schedule")))


async def _webhook(info: Info, key: UUID) -> Webhook:
    return Webhook(row=await webhooks.written(info.context, key, columns_of(info, Webhook, "webhook")))
