"""Mutations of alerts."""

from typing import Annotated
from uuid import UUID

import strawberry

from db.alerts import alerts as db_alerts
from db.alerts import notifications
from domain.errors import (
    AlertInvalidError,
    AlertNotFoundError,
    ProjectNotFoundError,
    ProjectRequiredError,
    SecretKeysMissingError,
)
from resolvers.outbound import alerts
from schema.arguments import argument
from schema.enums import Role
from schema.fields import Info, columns_of
from schema.inputs.alerts import CreateAlertInput, UpdateAlertInput
from schema.mutations.declaration import mutation, result, success
from schema.types.outbound.alert import Alert, Notification


@success
class CreateAlertSuccess:
    """The alert was created."""

    alert: Alert = strawberry.field(description="The new alert.")


@success
class UpdateAlertSuccess:
    """The alert was changed."""

    alert: Alert = strawberry.field(description="The changed alert.")


@success
class DeleteAlertSuccess:
    """The alert was deleted."""

    alert_id: strawberry.ID = strawberry.field(description="The ID of the deleted alert.")


@success
class TestAlertSuccess:
    """A test is being sent."""

    notification: Notification = strawberry.field(
        description="The notification of the test, which is PENDING. A worker sends it once."
    )


CreateAlertResult = Annotated[
    CreateAlertSuccess | AlertInvalidError | SecretKeysMissingError | ProjectRequiredError | ProjectNotFoundError,
    result("CreateAlertResult", "The new alert, or an error that says why it was not created."),
]
UpdateAlertResult = Annotated[
    UpdateAlertSuccess | AlertNotFoundError | AlertInvalidError | SecretKeysMissingError,
    result("UpdateAlertResult", "The changed alert, or an error that says why it was not changed."),
]
DeleteAlertResult = Annotated[
    DeleteAlertSuccess | AlertNotFoundError,
    result("DeleteAlertResult", "The ID of the alert, or an error that says why it was not deleted."),
]
TestAlertResult = Annotated[
    TestAlertSuccess | AlertNotFoundError,
    result("TestAlertResult", "The notification of the test, or an error that says why none is sent."),
]


@strawberry.type(description="Mutations of alerts.")
class AlertMutation:
    """The mutations of alerts, a part of the root type."""

    @mutation(
        Role.ADMIN,
        "Creates an alert: a rule by which people get messages about runs, from now on. Equal events are collected for"
        " 30 seconds and are one message.",
    )
    async def create_alert(
        self,
        info: Info,
        input: Annotated[CreateAlertInput, argument("The alert to create.")],  # noqa: A002
    ) -> CreateAlertResult:
        alert_id = await alerts.create(info.context, input.project_id, input.columns())
        return CreateAlertSuccess(alert=await _load_alert(info, alert_id))

    @mutation(Role.ADMIN, "Changes, enables or disables an alert. With a new rule, what was counted so far is dropped.")
    async def update_alert(
        self,
        info: Info,
        input: Annotated[UpdateAlertInput, argument("The alert and its changes.")],  # noqa: A002
    ) -> UpdateAlertResult:
        alert_id = await alerts.update(info.context, input.id, input.columns())
        return UpdateAlertSuccess(alert=await _load_alert(info, alert_id))

    @mutation(Role.ADMIN, "Deletes an alert with its notifications.")
    async def delete_alert(
        self,
        info: Info,
        id: Annotated[strawberry.ID, argument("The alert to delete.")],  # noqa: A002
    ) -> DeleteAlertResult:
        await alerts.remove(info.context, id)
        return DeleteAlertSuccess(alert_id=id)

    @mutation(Role.ADMIN, "Sends a test to the target of an alert, also while the alert is disabled.")
    async def test_alert(
        self,
        info: Info,
        id: Annotated[strawberry.ID, argument("The alert.")],  # noqa: A002
    ) -> TestAlertResult:
        notification_id = await alerts.test(info.context, id)
        columns = columns_of(info, Notification, "notification")
        row = await info.context.loaders.load_written(notifications.by_ids, notification_id, columns)
        return TestAlertSuccess(notification=Notification(row=row))


async def _load_alert(info: Info, alert_id: UUID) -> Alert:
    columns = columns_of(info, Alert, "alert")
    return Alert(row=await info.context.loaders.load_written(db_alerts.by_ids, alert_id, columns))
