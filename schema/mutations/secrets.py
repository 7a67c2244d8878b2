"""Mutations of secrets."""

from typing import Annotated
from uuid import UUID

import strawberry

from db import secrets as db_secrets
from domain.errors import (
    ProjectNotFoundError,
    ProjectRequiredError,
    SecretInvalidError,
    SecretKeysMissingError,
    SecretNameTakenError,
    SecretNotFoundError,
)
from engine.secrets.masks import MIN_LENGTH
from resolvers import secrets
from schema.arguments import argument
from schema.enums import Environment, Role
from schema.fields import Info, columns_of
from schema.mutations.declaration import mutation, result, success
from schema.types.secret import Secret

_VALUE = (
    f"The value: at least {MIN_LENGTH} characters. Send it as a variable, so that it is not part of the "
    "document. It cannot be read again."
)


@success
class CreateSecretSuccess:
    """The secret was created."""

    secret: Secret = strawberry.field(description="The new secret.")


@success
class RotateSecretSuccess:
    """The secret has a new value."""

    secret: Secret = strawberry.field(description="The changed secret.")


@success
class DeleteSecretSuccess:
    """The secret was deleted."""

    secret_id: strawberry.ID = strawberry.field(description="The ID of the deleted secret.")


CreateSecretResult = Annotated[
    CreateSecretSuccess
    | SecretNameTakenError
    | SecretInvalidError
    | SecretKeysMissingError
    | ProjectRequiredError
    | ProjectNotFoundError,
    result("CreateSecretResult", "The new secret, or an error that says why it was not created."),
]
RotateSecretResult = Annotated[
    RotateSecretSuccess | SecretNotFoundError | SecretInvalidError | SecretKeysMissingError,
    result("RotateSecretResult", "The changed secret, or an error that says why it was not changed."),
]
DeleteSecretResult = Annotated[
    DeleteSecretSuccess | SecretNotFoundError,
    result("DeleteSecretResult", "The ID of the deleted secret, or an error that says why it was not deleted."),
]


@strawberry.type(description="Mutations of secrets.")
class SecretMutation:
    """The mutations of secrets, a part of the root type."""

    @mutation(Role.ADMIN, "Creates a secret, which steps use as `{{ secrets.NAME }}`.")
    async def create_secret(
        self,
        info: Info,
        name: Annotated[
            str, argument("The name: 1 to 100 letters, digits and underscores, not beginning with a digit.")
        ],
        value: Annotated[str, argument(_VALUE)],
        environment: Annotated[
            Environment | None,
            argument(
                "The environment whose runs get the value. Default: all environments, except those for which "
                "the project has another secret with this name."
            ),
        ] = None,
        project_id: Annotated[
            strawberry.ID | None,
            argument("The project of the secret. Required for operator keys. Default: the key's project."),
        ] = None,
    ) -> CreateSecretResult:
        secret_id = await secrets.create(info.context, project_id, environment, name, value)
        return CreateSecretSuccess(secret=await _load_secret(info, secret_id))

    @mutation(
        Role.ADMIN,
        "Sets a new value of a secret. Attempts that start from now on get it. The previous value is masked for "
        "another 30 days.",
    )
    async def rotate_secret(
        self,
        info: Info,
        id: Annotated[strawberry.ID, argument("The secret.")],  # noqa: A002
        value: Annotated[str, argument(_VALUE)],
    ) -> RotateSecretResult:
        secret_id = await secrets.rotate(info.context, id, value)
        return RotateSecretSuccess(secret=await _load_secret(info, secret_id))

    @mutation(
        Role.ADMIN,
        "Deletes a secret. Steps that refer to it fail from now on. Its value is masked for another 30 days.",
    )
    async def delete_secret(
        self,
        info: Info,
        id: Annotated[strawberry.ID, argument("The secret to delete.")],  # noqa: A002
    ) -> DeleteSecretResult:
        await secrets.remove(info.context, id)
        return DeleteSecretSuccess(secret_id=id)


async def _load_secret(info: Info, secret_id: UUID) -> Secret:
    columns = columns_of(info, Secret, "secret")
    return Secret(row=await info.context.loaders.load_written(db_secrets.by_ids, secret_id, columns))
