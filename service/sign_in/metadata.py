"""The metadata of an OpenID provider, as OpenID Connect Discovery defines it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from authlib.oidc.discovery import get_well_known_url

from service.sign_in.provider_http import invalid_response
from service.sign_in.safe_urls import is_safe_url

SIGNING_ALGORITHMS = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "Ed25519",
    "EdDSA",
)
"""Accepted signatures of ID tokens: those by a private key. Tokens with the signature of the client's secret, or
without a signature, are refused."""


@dataclass(frozen=True, slots=True)
class ProviderMetadata:
    """The endpoints and capabilities of the provider."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None
    end_session_endpoint: str | None
    secret_in_form: bool
    """True if the token endpoint accepts the client's secret only in the form."""
    sends_issuer: bool
    """True if the provider adds its `iss` to the redirect by which the browser returns (RFC 9207)."""
    algorithms: Sequence[str]
    """The algorithms that ID tokens may be signed with."""


def well_known_url(issuer: str) -> str:
    """Returns the URL of the metadata."""
    url: str = get_well_known_url(issuer, external=True)
    return url


def parse_metadata(issuer: str, document: Mapping[str, Any]) -> ProviderMetadata:
    """Returns the metadata in the document that the issuer publishes.

    Raises:
        IdentityProviderInvalidError: the document is of another issuer, or has no usable endpoint.
    """
    if document.get("issuer") != issuer:
        raise invalid_response(f"the issuer is {document.get('issuer')!r}, FLOWRUNS_OIDC_ISSUER is {issuer!r}")
    methods = _texts(document, "token_endpoint_auth_methods_supported") or ["client_secret_basic"]
    offered = _texts(document, "id_token_signing_alg_values_supported") or ["RS256"]
    algorithms = [each for each in SIGNING_ALGORITHMS if each in offered]
    if not algorithms:
        raise invalid_response(f"the provider signs ID tokens only with {', '.join(offered)}")
    return ProviderMetadata(
        authorization_endpoint=_required(document, "authorization_endpoint"),
        token_endpoint=_required(document, "token_endpoint"),
        jwks_uri=_required(document, "jwks_uri"),
        userinfo_endpoint=_endpoint(document, "userinfo_endpoint"),
        end_session_endpoint=_endpoint(document, "end_session_endpoint"),
        secret_in_form="client_secret_basic" not in methods and "client_secret_post" in methods,
        sends_issuer=document.get("authorization_response_iss_parameter_supported") is True,
        algorithms=algorithms,
    )


def _required(document: Mapping[str, Any], name: str) -> str:
    endpoint = _endpoint(document, name)
    if endpoint is None:
        raise invalid_response(f"the metadata of the provider has no {name}")
    return endpoint


def _endpoint(document: Mapping[str, Any], name: str) -> str | None:
    value = document.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not is_safe_url(value):
        raise invalid_response(f"the metadata of the provider has an unusable {name}: {value!r}")
    return value


def _texts(document: Mapping[str, Any], name: str) -> list[str]:
    value = document.get(name)
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
