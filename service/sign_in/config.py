"""The settings of the identity provider, in the form that sign-in uses."""

from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

from service.settings import Settings
from service.sign_in import grants
from service.sign_in.grants import GroupGrants


@dataclass(frozen=True, slots=True)
class OpenIdConfig:
    """The identity provider, this service as its client, and the roles of its groups."""

    issuer: str
    client_id: str
    client_secret: str
    """Empty for a public client, which has only PKCE."""
    scope: str
    groups_claim: str
    group_grants: GroupGrants
    session_lifetime: timedelta
    label: str
    """The name of the provider on the sign-in page."""


def openid_config(settings: Settings) -> OpenIdConfig | None:
    """Returns the configuration; None if browsers sign in only with API keys."""
    if not settings.oidc_issuer:
        return None
    return OpenIdConfig(
        issuer=settings.oidc_issuer,
        client_id=settings.oidc_client_id,
        client_secret=settings.oidc_client_secret.get_secret_value(),
        scope=settings.oidc_scope,
        groups_claim=settings.oidc_groups_claim,
        group_grants=grants.parse(settings.oidc_roles),
        session_lifetime=timedelta(hours=settings.oidc_session_hours),
        label=settings.oidc_label or urlsplit(settings.oidc_issuer).netloc,
    )
