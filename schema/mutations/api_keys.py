"""Mutations of API keys."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import strawberry

from db import api_keys as db_api_keys
from domain.errors import (
    ApiKeyNotActiveError,
    ApiKeyNotFoundError,
    PrivilegeExceededError,
    ProjectNotFoundError,
    ProjectRequiredError,
    SettingsInvalidError,
)
from resolvers.access import api_keys
from schema.arguments import argument, given
from schema.enums import Role
from schema.fields import Info, columns_of
from schema.mutations.declaration import mutation, result, success
from schema.types.api_key import ApiKey

_SECRET = "The secret, for `Authorization: Bearer <secret>`. It is returned only here: the service stores its hash."  # noqa: S105


@success
class CreateApiKeySuccess:
    """The key was created."""

    api_key: ApiKey = strawberry.field(description="The new key.")
    secret: str = strawberry.field(description=_SECRET)


@success
class RotateApiKeySuccess:
    """The key was replaced."""

    api_key: ApiKey = strawberry.field(description="The new key, with the name, role and project of the old one.")
    secret: str = strawberry.field(description=_SECRET)


@success
class UpdateApiKeySuccess:
    """The key was changed."""

    api_key: ApiKey = strawberry.field(description="The changed key.")


@success
class RevokeApiKeySuccess:
    """The key was revoked."""

    api_key: ApiKey = strawberry.field(description="The revoked key.")


CreateApiKeyResult = Annotated[
    CreateApiKeySuccess | PrivilegeExceededError | ProjectRequiredError | ProjectNotFoundError | SettingsInvalidError,
    result("CreateApiKeyResult", "The new key and its secret, or an error that says why it was not created."),
]
RotateApiKeyResult = Annotated[
    RotateApiKeySuccess | ApiKeyNotFoundError | ApiKeyNotActiveError | PrivilegeExceededError,
    result("RotateApiKeyResult", "The new key and its secret, or an error that says why the key was not replaced."),
]
UpdateApiKeyResult = Annotated[
    UpdateApiKeySuccess | ApiKeyNotFoundError | ApiKeyNotActiveError | PrivilegeExceededError | SettingsInvalidError,
    result("UpdateApiKeyResult", "The changed key, or an error that says why it was not changed."),
]
RevokeApiKeyResult = Annotated[
    RevokeApiKeySuccess | ApiKeyNotFoundError | ApiKeyNotActiveError | PrivilegeExceededError,
    result("RevokeApiKeyResult", "The revoked key, or an error that says why it was not revoked."),
]

_ExpiresAt = Annotated[
    datetime | None,
    argument("The instant at which the key expires. Not together with `expiresIn`. Default: it does not expire."),
]
_ExpiresIn = Annotated[
    str | None, argument("The lifetime of the key: a duration in ISO 8601, such as `PT1H`, `P90D` or `P1Y`.")
]


@strawberry.type(description="Mutations of API keys.")
class ApiKeyMutation:
    """The mutations of API keys, a part of the root type."""

    @mutation(Role.ADMIN, "Creates an API key. Its role and scope are at most those of the key in use.")
    async def create_api_key(
        self,
        info: Info,
        name: Annotated[str, argument("The purpose of the key: 1 to 200 characters.")],
        role: Annotated[Role, argument("The rights of the key.")],
        expires_at: _ExpiresAt = None,
        expires_in: _ExpiresIn = None,
        project_id: Annotated[
            strawberry.ID | None,
            argument(
                "The project of the key. Required for operator keys unless `allProjects` is set. Default: the "
                "project of the key in use."
            ),
        ] = None,
        all_projects: Annotated[
            bool, argument("True: creates an operator key, which can see all projects. Only operator keys can do this.")
        ] = False,
        payloads: Annotated[
            bool,
            argument("False: the key cannot read inputs, outputs, details of errors, logs and files of runs."),
        ] = True,
        cost_per_minute: Annotated[
            int | None,
            argument(
                "What the operations and downloads of the key may cost in a minute, 1 to 1,000,000,000. By default"
                " as much as those of the key in use."
            ),
        ] = None,
    ) -> CreateApiKeyResult:
        issued = await api_keys.create(
            info.context,
            name,
            role,
            project_id,
            all_projects=all_projects,
            payloads=payloads,
            expires_at=expires_at,
            expires_in=expires_in,
            cost_per_minute=cost_per_minute,
        )
        return CreateApiKeySuccess(api_key=await _load_key(info, issued.key_id), secret=issued.secret)

    @mutation(
        Role.ADMIN,
        "Replaces an API key: creates a key with the same name, role and project, and lets the old one expire "
        "after `overlap`, so that clients can change over without a gap.",
    )
    async def rotate_api_key(
        self,
        info: Info,
        id: Annotated[strawberry.ID, argument("The key to replace.")],  # noqa: A002
        overlap: Annotated[
            str,
            argument(
                "The time for which the old key remains valid: a duration in ISO 8601, such as `PT15M`. `PT0S` "
                "ends it at once. It never lasts longer than without the rotation."
            ),
        ] = api_keys.DEFAULT_OVERLAP,
        expires_at: Annotated[
            datetime | None,
            argument(
                "The instant at which the new key expires. Not together with `expiresIn`. Default: the new key "
                "gets the lifetime of the old one."
            ),
        ] = None,
        expires_in: _ExpiresIn = None,
    ) -> RotateApiKeyResult:
        issued = await api_keys.rotate(info.context, id, overlap, expires_at=expires_at, expires_in=expires_in)
        return RotateApiKeySuccess(api_key=await _load_key(info, issued.key_id), secret=issued.secret)

    @mutation(
        Role.ADMIN,
        "Changes the name or the rate limit of an API key. Requests have the new limit within a second; connections"
        " that are open keep theirs.",
    )
    async def update_api_key(
        self,
        info: Info,
        id: Annotated[strawberry.ID, argument("The key to change.")],  # noqa: A002
        name: Annotated[
            str | None, argument("The new name: 1 to 200 characters. Left out or null, the name stays.")
        ] = None,
        cost_per_minute: Annotated[
            int | None,
            argument(
                "What the operations and downloads of the key may cost in a minute, 1 to 1,000,000,000. Null: the"
                " default of the service. Left out, it stays."
            ),
        ] = strawberry.UNSET,
    ) -> UpdateApiKeyResult:
        changes = given(cost_per_minute=cost_per_minute) | ({"name": name} if name is not None else {})
        return UpdateApiKeySuccess(api_key=await _load_key(info, await api_keys.update(info.context, id, changes)))

    @mutation(
        Role.ADMIN,
        "Revokes an API key. Within a second every process refuses its requests and ends its streams. The key in use"
        " can revoke itself.",
    )
    async def revoke_api_key(
        self,
        info: Info,
        id: Annotated[strawberry.ID, argument("The key to revoke.")],  # noqa: A002
    ) -> RevokeApiKeyResult:
        return RevokeApiKeySuccess(api_key=await _load_key(info, await api_keys.revoke(info.context, id)))


async def _load_key(info: Info, key_id: UUID) -> ApiKey:
    columns = columns_of(info, ApiKey, "apiKey")
    return ApiKey(row=await info.context.loaders.load_written(db_api_keys.by_ids, key_id, columns))
