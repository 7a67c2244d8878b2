"""The root type of mutations."""

import strawberry

from schema.mutations.access_tokens import AccessTokenMutation
from schema.mutations.alerts import AlertMutation
from schema.mutations.api_keys import ApiKeyMutation
from schema.mutations.bulk import BulkMutation
from schema.mutations.console.answer_links import AnswerLinkMutation
from schema.mutations.console.saved_views import SavedViewMutation
from schema.mutations.endpoints import EndpointMutation
from schema.mutations.flows import FlowMutation
from schema.mutations.holds import HoldMutation
from schema.mutations.projects import ProjectMutation
from schema.mutations.reruns import RerunMutation
from schema.mutations.run_changes import RunChangeMutation
from schema.mutations.runs import RunMutation
from schema.mutations.secrets import SecretMutation
from schema.mutations.triggers import TriggerMutation


@strawberry.type(description="The mutations. They are executed one after the other, in the order of the document.")
class Mutation(
    RunMutation,
    RerunMutation,
    RunChangeMutation,
    FlowMutation,
    ProjectMutation,
    HoldMutation,
    TriggerMutation,
    EndpointMutation,
    AlertMutation,
    BulkMutation,
    SavedViewMutation,
    SecretMutation,
    ApiKeyMutation,
    AccessTokenMutation,
    AnswerLinkMutation,
):
    """The root type of mutations."""
