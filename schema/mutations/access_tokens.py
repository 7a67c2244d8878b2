"""Mutations of access tokens."""

from datetime import datetime
from typing import Annotated

import strawberry

from domain import ids
from domain.access_token import AccessToken
from domain.errors import (
    AccessTokenNotFoundError,
    EmptyFilterError,
    PrivilegeExceededError,
    TokenKeysMissingError,
)
from domain.ids import IdKind
from resolvers.access import access_tokens
from schema.arguments import argument
from schema.enums import Role
from schema.fields import Info
from schema.inputs.filters import FlowRunFilter
from schema.mutations.declaration import mutation, result, success


@success
class CreateAccessTokenSuccess:
    """The token was created."""

    id: strawberry.ID = strawberry.field(description="The token's ID, which also appears in the audit log.")
    token: str = strawberry.field(
        description="The token, for `Authorization: Bearer <token>`. The service does not store it. Its holder can "
        "read its filter."
    )
    expires_at: datetime = strawberry.field(
        description="The instant at which the token expires. It ends with its key at the latest."
    )


@success
class RevokeAccessTokenSuccess:
    """The token was revoked."""

    id: strawberry.ID = strawberry.field(description="The token's ID.")


CreateAccessTokenResult = Annotated[
    CreateAccessTokenSuccess | EmptyFilterError | PrivilegeExceededError | TokenKeysMissingError,
    result("CreateAccessTokenResult", "The new token, or an error that says why it was not created."),
]
RevokeAccessTokenResult = Annotated[
    RevokeAccessTokenSuccess | AccessTokenNotFoundError,
    result("RevokeAccessTokenResult", "The revoked token, or an error that says why it was not revoked."),
]


@strawberry.type(description="Mutations of access tokens.")
class AccessTokenMutation:
    """The mutations of access tokens, a part of the root type."""

    @mutation(
        Role.OPERATOR,
        "Creates an access token: a short-lived credential for a browser, which can read the runs of a filter "
        "and nothing else. The filter is ANDed to every list, statistic, run and stream.",
    )
    async def create_access_token(
        self,
        info: Info,
        filter: Annotated[  # noqa: A002 - the name of the argument
            FlowRunFilter,
            argument(
                "The runs that the token can see, archived or not. Accepts only fields that never change in a "
                "run, such as `flowIds`, `tags` and `metadata`; a filter that restricts nothing is refused."
            ),
        ],
        expires_in: Annotated[
            str, argument("The lifetime of the token: a duration in ISO 8601, at most one day.")
        ] = access_tokens.DEFAULT_LIFETIME,
        payloads: Annotated[
            bool,
            argument("True: the token can also read inputs, outputs, details of errors, logs and files of its runs."),
        ] = False,
    ) -> CreateAccessTokenResult:
        issued = await access_tokens.create(
            info.context, filter.to_domain(), filter.text(), expires_in, payloads=payloads
        )
        return CreateAccessTokenSuccess(id=_id(issued.token), token=issued.text, expires_at=issued.token.expires_at)

    @mutation(
        Role.OPERATOR,
        "Revokes an access token. Within a second every process refuses its requests and ends its streams. "
        "Revoking an API key ends all tokens that it created.",
    )
    async def revoke_access_token(
        self, info: Info, token: Annotated[str, argument("The text of the token.")]
    ) -> RevokeAccessTokenResult:
        return RevokeAccessTokenSuccess(id=_id(await access_tokens.revoke(info.context, token)))


def _id(token: AccessToken) -> strawberry.ID:
    return strawberry.ID(ids.encode(IdKind.ACCESS_TOKEN, token.id))
