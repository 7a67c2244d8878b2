"""The row types agree with the tables."""

from typing import Any, get_type_hints

import pytest
from sqlmodel import SQLModel

from db import models, outbound_row_types, row_types
from db.models.types import table

TABLES: dict[type, type[SQLModel]] = {
    row_types.RunRow: models.FlowRun,
    row_types.StepRow: models.StepResult,
    row_types.AttemptRow: models.StepAttempt,
    row_types.FileRow: models.RunFile,
    row_types.LogLineRow: models.RunLog,
    row_types.InputRequestRow: models.InputRequest,
    row_types.FlowRow: models.Flow,
    row_types.FlowVersionRow: models.FlowVersion,
    row_types.ProjectRow: models.Project,
    row_types.ScheduleRow: models.Schedule,
    row_types.WebhookRow: models.Webhook,
    row_types.SavedViewRow: models.SavedView,
    row_types.SecretRow: models.Secret,
    outbound_row_types.EndpointRow: models.Endpoint,
    outbound_row_types.DeliveryRow: models.Delivery,
    outbound_row_types.DeliveryAttemptRow: models.DeliveryAttempt,
    outbound_row_types.AlertRow: models.Alert,
    outbound_row_types.NotificationRow: models.Notification,
    row_types.EventRow: models.RunEvent,
    row_types.StartHoldRow: models.StartHold,
    row_types.ApiKeyRow: models.ApiKey,
    row_types.AuditEventRow: models.AuditEvent,
    row_types.BulkOperationRow: models.BulkOperation,
    row_types.BulkOutcomeRow: models.BulkOutcome,
    row_types.WorkerRow: models.Worker,
}


def test_every_row_type_has_a_table() -> None:
    named = vars(row_types) | vars(outbound_row_types)
    declared = {value for name, value in named.items() if name.endswith("Row")}
    assert declared == set(TABLES)


@pytest.mark.parametrize("row_type", TABLES, ids=lambda row_type: row_type.__name__)
def test_columns_of_row_type_are_those_of_its_table(row_type: type) -> None:
    model = TABLES[row_type]
    # SQLModel reserves the name `metadata`.
    model_types: dict[str, Any] = {
        "metadata" if name == "meta" else name: hint for name, hint in get_type_hints(model).items()
    }
    columns = table(model).c
    for name, hint in get_type_hints(row_type).items():
        assert hint == model_types[name], name
        assert columns[name].nullable is (type(None) in getattr(hint, "__args__", ())), name
