"""Mutations of the triggers of runs: schedules and webhooks."""

from typing import Annotated
from uuid import UUID

import strawberry
from strawberry.scalars import JSON

from db import schedules as db_schedules
from db import webhooks as db_webhooks
from domain.errors import (
    FlowNotFoundError,
    InputInvalidError,
    InputTooLargeError,
    ScheduleInvalidError,
    ScheduleNotFoundError,
    SecretKeysMissingError,
    SettingsInvalidError,
    WebhookInvalidError,
    WebhookNotFoundError,
)
from resolvers.triggers import schedules, webhooks
from schema.arguments import argument, given
from schema.enums import Environment, Role, WebhookSignature
from schema.fields import Info, columns_of
from schema.inputs.schedules import CreateScheduleInput, UpdateScheduleInput
from schema.mutations.declaration import mutation, result, success
from schema.types.flow import Schedule, Webhook

_TOKEN = "The new token. It is returned only here: the service stores its hash."  # noqa: S105
_PATH = "The path to call, which contains the token: send a `POST` to it on this service."


@success
class CreateScheduleSuccess:
    """The schedule was created."""

    schedule: Schedule = strawberry.field(description="The new schedule.")


@success
class UpdateScheduleSuccess:
    """The schedule was changed."""

    schedule: Schedule = strawberry.field(description="The changed schedule.")
    cancelled_runs: int = strawberry.field(description="Number of runs that `cancelBacklog` cancelled.")


@success
class DeleteScheduleSuccess:
    """The schedule was deleted."""

    schedule_id: strawberry.ID = strawberry.field(description="The ID of the deleted schedule.")
    cancelled_runs: int = strawberry.field(description="Number of runs that `cancelBacklog` cancelled.")


@success
class CreateWebhookSuccess:
    """The webhook was created."""

    webhook: Webhook = strawberry.field(description="The new webhook.")
    token: str = strawberry.field(description=_TOKEN)
    path: str = strawberry.field(description=_PATH)
    warnings: list[str] = strawberry.field(
        description="Settings that may not work: the flow's `inputSchema` does not accept every request as its "
        "input, and there is no `input` that maps it. A webhook whose requests are never accepted is "
        "refused."
    )


@success
class UpdateWebhookSuccess:
    """The webhook was changed."""

    webhook: Webhook = strawberry.field(description="The changed webhook.")


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
    CreateWebhookSuccess | FlowNotFoundError | WebhookInvalidError | InputTooLargeError | SecretKeysMissingError,
    result("CreateWebhookResult", "The new webhook, or an error that says why it was not created."),
]
UpdateWebhookResult = Annotated[
    UpdateWebhookSuccess | WebhookNotFoundError | SettingsInvalidError,
    result("UpdateWebhookResult", "The changed webhook, or an error that says why it was not changed."),
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
        "Changes a schedule. Runs that have been started continue. If `cron`, `timeZone` or `enabled` changes, "
        "earlier missed fire times are forgotten.",
    )
    async def update_schedule(
        self,
        info: Info,
        input: Annotated[UpdateScheduleInput, argument("The schedule and its changes.")],  # noqa: A002
    ) -> UpdateScheduleResult:
        updated = await schedules.update(info.context, input.id, input.columns(), cancel_backlog=input.cancel_backlog)
        return UpdateScheduleSuccess(
            schedule=await _load_schedule(info, updated.id), cancelled_runs=updated.cancelled_runs
        )

    @mutation(Role.ADMIN, "Deletes a schedule. Runs that it started remain.")
    async def delete_schedule(
        self,
        info: Info,
        id: Annotated[strawberry.ID, argument("The schedule to delete.")],  # noqa: A002
        cancel_backlog: Annotated[
            bool,
            argument("True: runs of the schedule that are QUEUED and have not begun are cancelled. Default: false."),
        ] = False,
    ) -> DeleteScheduleResult:
        cancelled_runs = await schedules.remove(info.context, id, cancel_backlog=cancel_backlog)
        return DeleteScheduleSuccess(schedule_id=id, cancelled_runs=cancelled_runs)

    @mutation(Role.ADMIN, "Creates a webhook: a secret URL. Each call of it starts a run of a flow.")
    async def create_webhook(
        self,
        info: Info,
        flow_id: Annotated[strawberry.ID, argument("The flow. Runs execute its published version.")],
        name: Annotated[str, argument("The display name, such as the caller's name: 1 to 200 characters.")],
        environment: Annotated[
            Environment, argument("PRODUCTION for real executions, TESTING for trials.")
        ] = Environment.PRODUCTION,
        signature_header: Annotated[
            str | None,
            argument(
                "The header in which callers send the HMAC-SHA256 of the body, in hex or base64. Requires "
                "`signatureSecret`. Default: calls need no signature. If the header belongs to a named "
                "`signature`, that form is expected in it."
            ),
        ] = None,
        signature_secret: Annotated[
            str | None,
            argument(
                "The secret with which callers sign: 1 to 200 characters. Requires `signature` or `signatureHeader`."
            ),
        ] = None,
        signature: Annotated[
            WebhookSignature | None,
            argument(
                "The form in which callers sign. It decides the header, the signed text and the time stamp, "
                "which may be five minutes from now. Requires `signatureSecret`. Default: HMAC, if there is a "
                "`signatureHeader`."
            ),
        ] = None,
        input: Annotated[  # noqa: A002
            JSON | None,
            argument(
                "A template of the input of runs over `request.method`, `request.query`, `request.headers` and "
                '`request.body`, such as `{"order": "{{ request.body.order }}"}`. Default: the input is the '
                "`request`."
            ),
        ] = None,
        respond: Annotated[
            JSON | None,
            argument(
                "A template of the response over `request` and `run` (`id`, and with `?wait=` also `status` and "
                "`output`): an object with `status`, `headers` and `body`; a body that is not text is sent as "
                "JSON. With `when`, a condition over `request`, calls that match it get the response and start "
                "no run, as handshakes require. Default: the response names the started run."
            ),
        ] = None,
        accepts_get: Annotated[
            bool,
            argument("True: GET requests start runs, too. Mail and chat programs fetch links that they see."),
        ] = False,
        exposed_headers: Annotated[
            list[str],
            argument(
                "Headers to keep in `request.headers` although their names suggest credentials. Removed by "
                "default: headers with `token`, `secret`, `signature`, `api-key`, `password` or `auth` in their "
                "names, and cookies."
            ),
        ] = [],  # noqa: B006 - read, never changed
        calls_per_minute: Annotated[
            int | None,
            argument("Calls that are accepted in a minute, 1 to 1,000,000. Default: that of the service."),
        ] = None,
    ) -> CreateWebhookResult:
        new = webhooks.NewWebhook(
            name=name,
            environment=environment,
            signature=signature,
            signature_header=signature_header,
            signature_secret=signature_secret,
            input=input,
            respond=respond,
            accepts_get=accepts_get,
            exposed_headers=exposed_headers,
            calls_per_minute=calls_per_minute,
        )
        issued = await webhooks.create(info.context, flow_id, new)
        webhook = await _load_webhook(info, issued.webhook_id)
        path = f"/hooks/{issued.token}"
        return CreateWebhookSuccess(webhook=webhook, token=issued.token, path=path, warnings=list(issued.warnings))

    @mutation(Role.ADMIN, "Changes the name or the rate limit of a webhook. Calls have the new limit at once.")
    async def update_webhook(
        self,
        info: Info,
        id: Annotated[strawberry.ID, argument("The webhook.")],  # noqa: A002
        name: Annotated[
            str | None, argument("The new name: 1 to 200 characters. Left out or null, the name stays.")
        ] = None,
        calls_per_minute: Annotated[
            int | None,
            argument(
                "Calls that are accepted in a minute, 1 to 1,000,000. Null: the default of the service. Left out, it"
                " stays."
            ),
        ] = strawberry.UNSET,
    ) -> UpdateWebhookResult:
        changes = given(calls_per_minute=calls_per_minute) | ({"name": name} if name is not None else {})
        return UpdateWebhookSuccess(webhook=await _load_webhook(info, await webhooks.update(info.context, id, changes)))

    @mutation(Role.ADMIN, "Replaces the token of a webhook. The previous token is invalid from now on.")
    async def rotate_webhook(
        self,
        info: Info,
        id: Annotated[strawberry.ID, argument("The webhook.")],  # noqa: A002
    ) -> RotateWebhookResult:
        issued = await webhooks.rotate(info.context, id)
        webhook = await _load_webhook(info, issued.webhook_id)
        return RotateWebhookSuccess(webhook=webhook, token=issued.token, path=f"/hooks/{issued.token}")

    @mutation(Role.ADMIN, "Deletes a webhook. Runs that it started remain.")
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
