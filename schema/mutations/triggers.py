"""Mutations of what starts runs automatically: schedules and webhooks."""

from typing import Annotated
from uuid import UUID

import strawberry

from db import schedules as db_schedules
from db import webhooks as db_webhooks
from domain.errors import (
    FlowNotFoundError,
    InputInvalidError,
    InputTooLargeError,
    ScheduleInvalidError,
    ScheduleNotFoundError,
    WebhookNotFoundError,
)
from resolvers import schedules, webhooks
from schema.arguments import argument
from schema.enums import Environment, Role
from schema.fields import Info, columns_of
from schema.inputs.schedules import CreateScheduleInput, UpdateScheduleInput
from schema.mutations.declaration import mutation, result, success
from schema.types.flow import Schedule, Webhook

_TOKEN = "The new token. It is returned only here: the service stores its hash."  # noqa: S105
_PATH = "The path to call, which contains the token: `POST` it to this service."


@success
class CreateScheduleSuccess:
    """The schedule was created."""

    schedule: Schedule = strawberry.field(description="The new schedule.")


@success
class UpdateScheduleSuccess:
    """The schedule was changed."""

    schedule: Schedule = strawberry.field(description="The changed schedule.")


@success
class DeleteScheduleSuccess:
    """The schedule was deleted."""

    schedule_id: strawberry.ID = strawberry.field(description="The ID of the deleted schedule.")


@success
class CreateWebhookSuccess:
    """The webhook was created."""

    webhook: Webhook = strawberry.field(description="The new webhook.")
    token: str = strawberry.field(description=_TOKEN)
    path: str = strawberry.field(description=_PATH)


@success
class RotateWebhookSuccess:
    """The token of the webhook was replaced."""

    webhook: Webhook = strawberry.field(description="The changed webhook.")
    token: str = strawberry.field(description=_TOKEN)
    path: str = strawberry.field(description=_PATH)


@success
class DeleteWebhookSuccess:
    """The webhook was deleted."""

    webhook_id: strawberry.ID = strawberry.field(description="The ID of the deleted webhook.")


CreateScheduleResult = Annotated[
    CreateScheduleSuccess | FlowNotFoundError | ScheduleInvalidError | InputInvalidError | InputTooLargeError,
    result("CreateScheduleResult", "The new schedule, or an error that says why it was not created."),
]
UpdateScheduleResult = Annotated[
    UpdateScheduleSuccess | ScheduleNotFoundError | ScheduleInvalidError | InputInvalidError | InputTooLargeError,
    result("UpdateScheduleResult", "The changed schedule, or an error that says why it was not changed."),
]
DeleteScheduleResult = Annotated[
    DeleteScheduleSuccess | ScheduleNotFoundError,
    result("DeleteScheduleResult", "The ID of the schedule, or an error that says why it was not deleted."),
]
CreateWebhookResult = Annotated[
    CreateWebhookSuccess | FlowNotFoundError,
    result("CreateWebhookResult", "The new webhook, or an error that says why it was not created."),
]
RotateWebhookResult = Annotated[
    RotateWebhookSuccess | WebhookNotFoundError,
    result(
        "RotateWebhookResult", "The webhook and its new token, or an error that says why the token was not replaced."
    ),
]
DeleteWebhookResult = Annotated[
    DeleteWebhookSuccess | WebhookNotFoundError,
    result("DeleteWebhookResult", "The ID of the webhook, or an error that says why it was not deleted."),
]


@strawberry.type(description="Mutations of schedules and webhooks.")
class TriggerMutation:
    """The mutations of schedules and webhooks, a part of the root type."""

    @mutation(Role.ADMIN, "Creates a schedule, which starts runs of a flow at the times of a cron expression.")
    async def create_schedule(
        self,
        info: Info,
        input: Annotated[CreateScheduleInput, argument("The schedule to create.")],  # noqa: A002
    ) -> CreateScheduleResult:
        schedule_id = await schedules.create(info.context, input.flow_id, input.columns())
        return CreateScheduleSuccess(schedule=await _load_schedule(info, schedule_id))

    @mutation(
        Role.ADMIN,
        "Changes a schedule. Runs that have been started continue. If `cron`, `timeZone` or `enabled` changes, fire"
        " times that were missed before are forgotten.",
    )
    async def update_schedule(
        self,
        info: Info,
        input: Annotated[UpdateScheduleInput, argument("The schedule and its changes.")],  # noqa: A002
    ) -> UpdateScheduleResult:
        schedule_id = await schedules.update(info.context, input.id, input.columns())
        return UpdateScheduleSuccess(schedule=await _load_schedule(info, schedule_id))

    @mutation(Role.ADMIN, "Deletes a schedule. Runs that it started stay.")
    async def delete_schedule(
        self,
        info: Info,
        id: Annotated[strawberry.ID, argument("The schedule to delete.")],  # noqa: A002
    ) -> DeleteScheduleResult:
        await schedules.remove(info.context, id)
        return DeleteScheduleSuccess(schedule_id=id)

    @mutation(Role.ADMIN, "Creates a webhook: a secret URL, each call of which starts a run of a flow.")
    async def create_webhook(
        self,
        info: Info,
        flow_id: Annotated[strawberry.ID, argument("The flow. Runs execute its published version.")],
        name: Annotated[str, argument("A name for people, such as the caller's: 1 to 200 characters.")],
        environment: Annotated[
            Environment, argument("PRODUCTION for live executions, TESTING for trials.")
        ] = Environment.PRODUCTION,
        signature_header: Annotated[
            str | None,
            argument(
                "The header in which callers send the HMAC-SHA256 of the body, in hex or base64. Requires"
                " `signatureSecret`. By default calls need no signature."
            ),
        ] = None,
        signature_secret: Annotated[
            str | None, argument("The secret with which callers sign: 1 to 200 characters. Requires `signatureHeader`.")
        ] = None,
    ) -> CreateWebhookResult:
        issued = await webhooks.create(info.context, flow_id, name, environment, signature_header, signature_secret)
        webhook = await _load_webhook(info, issued.webhook_id)
        return CreateWebhookSuccess(webhook=webhook, token=issued.token, path=f"/hooks/{issued.token}")

    @mutation(Role.ADMIN, "Replaces the token of a webhook. The previous token is invalid from now on.")
    async def rotate_webhook(
        self,
        info: Info,
        id: Annotated[strawberry.ID, argument("The webhook.")],  # noqa: A002
    ) -> RotateWebhookResult:
        issued = await webhooks.rotate(info.context, id)
        webhook = await _load_webhook(info, issued.webhook_id)
        return RotateWebhookSuccess(webhook=webhook, token=issued.token, path=f"/hooks/{issued.token}")

    @mutation(Role.ADMIN, "Deletes a webhook. Runs that it started stay.")
    async def delete_webhook(
        self,
        info: Info,
        id: Annotated[strawberry.ID, argument("The webhook to delete.")],  # noqa: A002
    ) -> DeleteWebhookResult:
        await webhooks.remove(info.context, id)
        return DeleteWebhookSuccess(webhook_id=id)


async def _load_schedule(info: Info, schedule_id: UUID) -> Schedule:
    columns = columns_of(info, Schedule, "schedule")
    return Schedule(row=await info.context.loaders.load_written(db_schedules.by_ids, schedule_id, columns))


async def _load_webhook(info: Info, webhook_id: UUID) -> Webhook:
    columns = columns_of(info, Webhook, "webhook")
    return Webhook(row=await info.context.loaders.load_written(db_webhooks.by_ids, webhook_id, columns))
