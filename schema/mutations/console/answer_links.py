"""The mutation that creates links to input requests."""

from datetime import datetime
from typing import Annotated

import strawberry

from domain import ids
from domain.errors import (
    InputAlreadyAnsweredError,
    InputExpiredError,
    InputRequestNotFoundError,
    RunNotPausedError,
    TokenKeysMissingError,
)
from domain.ids import IdKind
from resolvers.console import answer_links
from schema.arguments import argument
from schema.enums import Role
from schema.fields import Info
from schema.mutations.declaration import mutation, result, success


@success
class CreateAnswerLinkSuccess:
    """The link was created."""

    id: strawberry.ID = strawberry.field(description="The link's ID: that of the actor who answers with it.")
    path: str = strawberry.field(
        description="The path of the link, relative to the address of the service. The service does not store it."
        " Everybody who has it can answer the request."
    )
    expires_at: datetime = strawberry.field(
        description="The instant at which the link expires. It ends with the request and with its key at the latest."
    )


CreateAnswerLinkResult = Annotated[
    CreateAnswerLinkSuccess
    | InputRequestNotFoundError
    | InputAlreadyAnsweredError
    | InputExpiredError
    | RunNotPausedError
    | TokenKeysMissingError,
    result("CreateAnswerLinkResult", "The link, or an error that says why it was not created."),
]


@strawberry.type(description="Mutations of answer links.")
class AnswerLinkMutation:
    """The mutations of answer links, a part of the root type."""

    @mutation(
        Role.OPERATOR,
        "Creates a link under which a person without an API key answers an input request: a page with a form of its"
        " schema. It works once. Requires access to payloads.",
    )
    async def create_answer_link(
        self,
        info: Info,
        request_id: Annotated[strawberry.ID, argument("The request, which must be PENDING.")],
        expires_in: Annotated[
            str, argument("The lifetime of the link: a duration in ISO 8601, at most 30 days.")
        ] = answer_links.DEFAULT_LIFETIME,
        recipient: Annotated[
            str | None,
            argument("The person for whom the link is, 1 to 200 characters: the name in `answeredBy`. Default: none."),
        ] = None,
    ) -> CreateAnswerLinkResult:
        issued = await answer_links.create(info.context, request_id, expires_in, recipient)
        return CreateAnswerLinkSuccess(
            id=strawberry.ID(ids.encode(IdKind.ANSWER_LINK, issued.link.id)),
            path=f"/answer/{issued.text}",
            expires_at=issued.link.expires_at,
        )
