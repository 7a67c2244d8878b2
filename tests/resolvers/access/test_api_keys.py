"""API keys over the API: creation, rotation, revocation, and the rights for each."""

from datetime import timedelta
from typing import Any

import pytest

from domain import ids
from domain.actor import Actor, ActorKind
from domain.enums import Role
from domain.errors import PrivilegeExceededError
from domain.ids import IdKind
from engine.compiled_flow import FlowCache
from resolvers.access import api_keys
from resolvers.context import Context, Viewer
from tests.support.app import App
from tests.support.clock import START, FakeClock

FIELDS = """id name role payloads hint project { id } createdBy { kind id name } createdAt expiresAt lastUsedAt
    revokedAt replacesId"""
ERROR = "... on UserError { code message }"
KEYS = f"query($active: Boolean) {{ apiKeys(active: $active, first: 1000) {{ totalCount nodes {{ {FIELDS} }} }} }}"
UNKNOWN = "key_" + "0" * 32


async def create(app: App, arguments: str = 'name: "ci", role: VIEWER', key: str | None = None) -> dict[str, Any]:
    text = f"""mutation {{ it: createApiKey({arguments}) {{
        ... on CreateApiKeySuccess {{ secret apiKey {{ {FIELDS} }} }} {ERROR} }} }}"""
    made: dict[str, Any] = (await app.query(text, key=key))["it"]
    return made


async def rotate(app: App, key_id: str, more: str = "", key: str | None = None) -> dict[str, Any]:
    text = f"""mutation {{ it: rotateApiKey(id: "{key_id}" {more}) {{
        ... on RotateApiKeySuccess {{ secret apiKey {{ {FIELDS} }} }} {ERROR} }} }}"""
    made: dict[str, Any] = (await app.query(text, key=key))["it"]
    return made


async def revoke(app: App, key_id: str, key: str | None = None) -> dict[str, Any]:
    text = f"""mutation {{ it: revokeApiKey(id: "{key_id}") {{
        ... on RevokeApiKeySuccess {{ apiKey {{ id revokedAt }} }} {ERROR} }} }}"""
    made: dict[str, Any] = (await app.query(text, key=key))["it"]
    return made


async def listed(app: App, key: str | None = None, **variables: Any) -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = (await app.query(KEYS, variables, key=key))["apiKeys"]["nodes"]
    return nodes


async def works(app: App, secret: str) -> bool:
    return (await app.post("{ viewer { role } }", key=secret)).status_code == 200


async def test_created_key_works_and_shows_its_secret_once(fake_clock: FakeClock, idle_app: App) -> None:
    made = await create(idle_app, 'name: "ci", role: OPERATOR, expiresIn: "P1D"')
    key, secret = made["apiKey"], made["secret"]
    assert (key["name"], key["role"], key["hint"]) == ("ci", "OPERATOR", secret[:8])
    assert key["project"] == {"id": idle_app.project}
    assert (key["createdBy"]["kind"], key["createdBy"]["name"]) == ("API_KEY", "admin for tests")
    assert key["expiresAt"].startswith((START + timedelta(days=1)).isoformat()[:19])
    assert (key["lastUsedAt"], key["revokedAt"], key["replacesId"]) == (None, None, None)
    found = await idle_app.query("{ viewer { keyName role } }", key=secret)
    assert found["viewer"] == {"keyName": "ci", "role": "OPERATOR"}
    assert secret not in str(await listed(idle_app))
    fake_clock.jump(timedelta(days=1).total_seconds())
    assert not await works(idle_app, secret)


@pytest.mark.parametrize(
    "arguments",
    [
        'name: "", role: VIEWER',
        'name: "x", role: VIEWER, expiresIn: "soon"',
        'name: "x", role: VIEWER, expiresIn: "PT0S"',
        'name: "x", role: VIEWER, expiresIn: "P999999Y"',
        'name: "x", role: VIEWER, expiresAt: "2001-01-01T00:00:00Z"',
        'name: "x", role: VIEWER, expiresAt: "2101-01-01T00:00:00Z", expiresIn: "P1D"',
    ],
)
async def test_bad_arguments_are_refused(idle_app: App, arguments: str) -> None:
    text = f"mutation {{ createApiKey({arguments}) {{ __typename }} }}"
    assert await idle_app.error_code(text) == "INVALID_ARGUMENT"


async def test_scope_of_a_new_key_is_at_most_that_of_its_maker(idle_app: App) -> None:
    foreign = f'name: "x", role: VIEWER, projectId: "{idle_app.other_project}"'
    assert (await create(idle_app, foreign))["code"] == "PROJECT_NOT_FOUND"
    assert (await create(idle_app, 'name: "x", role: VIEWER, allProjects: true'))["code"] == "PRIVILEGE_EXCEEDED"
    everywhere = idle_app.keys.all_projects
    assert (await create(idle_app, key=everywhere))["code"] == "PROJECT_REQUIRED"
    unknown = 'name: "x", role: VIEWER, projectId: "proj_' + "0" * 32 + '"'
    assert (await create(idle_app, unknown, everywhere))["code"] == "PROJECT_NOT_FOUND"
    assert (await create(idle_app, foreign, everywhere))["apiKey"]["project"] == {"id": idle_app.other_project}
    operator = await create(idle_app, 'name: "x", role: ADMIN, allProjects: true', everywhere)
    assert operator["apiKey"]["project"] is None


async def test_role_of_a_new_key_is_at_most_that_of_its_maker(idle_app: App) -> None:
    # Today only ADMINs reach this point; the rule must hold for all roles that the mutation may admit.
    project = ids.decode(IdKind.PROJECT, idle_app.project)
    viewer = Viewer(ids.new_uuid(), project, Role.OPERATOR, "operator")
    context = Context(idle_app.database, FlowCache(idle_app.database), viewer)
    with pytest.raises(PrivilegeExceededError):
        await api_keys.create(
            context, "x", Role.ADMIN, None, all_projects=False, payloads=True, expires_at=None, expires_in=None
        )
    (admin,) = [key for key in await listed(idle_app) if key["role"] == "ADMIN"]
    with pytest.raises(PrivilegeExceededError):
        await api_keys.rotate(context, admin["id"], "PT0S", expires_at=None, expires_in=None)
    with pytest.raises(PrivilegeExceededError):
        await api_keys.revoke(context, admin["id"])


async def test_keys_of_others_cannot_be_seen_rotated_or_revoked(idle_app: App) -> None:
    everywhere = idle_app.keys.all_projects
    own = (await create(idle_app))["apiKey"]
    operator = (await create(idle_app, 'name: "x", role: VIEWER, allProjects: true', everywhere))["apiKey"]
    assert own["id"] not in {key["id"] for key in await listed(idle_app, idle_app.keys.other_admin)}
    assert operator["id"] not in {key["id"] for key in await listed(idle_app)}
    assert {own["id"], operator["id"]} <= {key["id"] for key in await listed(idle_app, everywhere)}
    for key_id, key in ((own["id"], idle_app.keys.other_admin), (operator["id"], None), (UNKNOWN, None)):
        assert (await rotate(idle_app, key_id, key=key))["code"] == "API_KEY_NOT_FOUND"
        assert (await revoke(idle_app, key_id, key=key))["code"] == "API_KEY_NOT_FOUND"
    for key in (idle_app.keys.viewer, idle_app.keys.operator):
        assert await idle_app.error_code(KEYS, key=key) == "FORBIDDEN"


async def test_list_is_newest_first_and_filters_by_state(fake_clock: FakeClock, idle_app: App) -> None:
    first, second = (await create(idle_app))["apiKey"]["id"], (await create(idle_app))["apiKey"]["id"]
    short = (await create(idle_app, 'name: "x", role: VIEWER, expiresIn: "PT1M"'))["apiKey"]["id"]
    await revoke(idle_app, first)
    await fake_clock.advance(60)
    assert [key["id"] for key in await listed(idle_app)][:3] == [short, second, first]
    assert [key["id"] for key in await listed(idle_app, active=True)][:1] == [second]
    assert [key["id"] for key in await listed(idle_app, active=False)] == [short, first]


async def test_old_key_works_until_the_overlap_of_a_rotation_ends(fake_clock: FakeClock, idle_app: App) -> None:
    old = await create(idle_app, 'name: "ci", role: OPERATOR, expiresIn: "P30D"')
    fake_clock.jump(timedelta(days=10).total_seconds())
    new = await rotate(idle_app, old["apiKey"]["id"], 'overlap: "PT1H"')
    key = new["apiKey"]
    assert (key["name"], key["role"], key["project"]) == ("ci", "OPERATOR", {"id": idle_app.project})
    assert key["replacesId"] == old["apiKey"]["id"]
    assert key["expiresAt"].startswith((START + timedelta(days=40)).isoformat()[:19])
    assert await works(idle_app, old["secret"])
    assert await works(idle_app, new["secret"])
    fake_clock.jump(3_600)
    assert not await works(idle_app, old["secret"])
    assert await works(idle_app, new["secret"])
    assert (await rotate(idle_app, old["apiKey"]["id"]))["code"] == "API_KEY_NOT_ACTIVE"


async def test_rotation_without_overlap_ends_the_old_key_at_once(idle_app: App) -> None:
    old = await create(idle_app)
    assert await works(idle_app, old["secret"])
    new = await rotate(idle_app, old["apiKey"]["id"], 'overlap: "PT0S"')
    assert new["apiKey"]["expiresAt"] is None
    assert not await works(idle_app, old["secret"])
    assert await works(idle_app, new["secret"])


async def test_rotation_never_prolongs_a_key(fake_clock: FakeClock, idle_app: App) -> None:
    old = await create(idle_app, 'name: "x", role: VIEWER, expiresIn: "PT1M"')
    await rotate(idle_app, old["apiKey"]["id"], 'overlap: "P1Y"')
    await fake_clock.advance(60)
    assert not await works(idle_app, old["secret"])


async def test_revoked_key_is_refused_at_once(idle_app: App) -> None:
    made = await create(idle_app)
    assert await works(idle_app, made["secret"])
    assert (await revoke(idle_app, made["apiKey"]["id"]))["apiKey"]["revokedAt"] is not None
    assert not await works(idle_app, made["secret"])
    assert (await revoke(idle_app, made["apiKey"]["id"]))["code"] == "API_KEY_NOT_ACTIVE"
    assert (await rotate(idle_app, made["apiKey"]["id"]))["code"] == "API_KEY_NOT_ACTIVE"


async def test_key_revokes_itself(idle_app: App) -> None:
    made = await create(idle_app, 'name: "x", role: ADMIN')
    assert "code" not in await revoke(idle_app, made["apiKey"]["id"], key=made["secret"])
    assert not await works(idle_app, made["secret"])


def test_actor_is_stored_as_clients_see_it() -> None:
    key = ids.new_uuid()
    assert Actor(ActorKind.SCHEDULE, key).text == f'{{"kind":"SCHEDULE","id":"sched_{key.hex}","name":null}}'
