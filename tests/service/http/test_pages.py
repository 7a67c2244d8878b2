"""The pages beside the API, their assets, the health of the service, and the language's schema."""

import gzip
from pathlib import Path

import brotli
import httpx
import jsonschema_rs
import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from db.assembly import open_database
from db.migrate import MISSING, NEWER, OLDEST
from domain import ids
from engine.secrets.key_ring import new_key
from service.asgi import create_service
from service.demo import FLOWS
from service.http.pages import POLICY, Pages
from service.settings import Settings
from tests.support.app import BASE_URL, App
from tests.support.query import query

PAGE = {"accept": "text/html,application/xhtml+xml"}


PAGE_BELOW = """<title>Flow Runs</title><meta name="base-path" content="{base}" /><script src="{assets}/a.js">"""


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """Built pages."""
    folder = tmp_path / "dist"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text(PAGE_BELOW.format(base="", assets="./assets"))
    (folder / "graphiql.html").write_text("<title>GraphiQL</title>")
    (folder / "assets" / "main-abc.js").write_text("1")
    (tmp_path / "secret.txt").write_text("secret")
    return folder


def client(app: Starlette) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE_URL)


def pages(folder: Path) -> httpx.AsyncClient:
    served = Pages(folder)

    async def graphiql(request: Request) -> Response:
        return served.graphiql(request)

    routes = [Route("/graphql", graphiql), *served.routes()]
    return client(Starlette(routes=routes, exception_handlers={404: served.not_found}))


@pytest.mark.parametrize(
    ("path", "title"), [("/", "Flow Runs"), ("/runs/run_1?step=a", "Flow Runs"), ("/graphql", "GraphiQL")]
)
async def test_page_is_sent_with_a_strict_policy(build: Path, path: str, title: str) -> None:
    async with pages(build) as http:
        response = await http.get(path)
    assert f"<title>{title}</title>" in response.text
    assert response.headers["content-security-policy"] == POLICY
    assert "default-src 'none'" in POLICY
    assert "script-src 'self';" in POLICY
    assert "http" not in POLICY
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["vary"] == "accept, x-forwarded-prefix"


@pytest.mark.parametrize(
    ("prefix", "base"),
    [
        ("/flowruns", "/flowruns"),
        ("/tools/flow-runs/", "/tools/flow-runs"),
        ("", ""),
        ("//evil.example", ""),
        ("https://evil.example", ""),
        ('/"><script>', ""),
        ("/a b", ""),
    ],
)
async def test_page_below_a_path_names_it(build: Path, prefix: str, base: str) -> None:
    async with pages(build) as http:
        response = await http.get("/runs/run_1", headers={"x-forwarded-prefix": prefix})
    assert response.text == PAGE_BELOW.format(base=base, assets=f"{base}/assets")


async def test_redirect_after_sign_in_stays_below_the_path(idle_app: App) -> None:
    for prefix in ("/flowruns", ""):
        response = await idle_app.http.get("/sign-in", headers={"x-forwarded-prefix": prefix})
        assert response.headers["location"] == f"{prefix}/"


async def test_assets_may_be_kept_for_ever(build: Path) -> None:
    async with pages(build) as http:
        response = await http.get("/assets/main-abc.js")
    assert response.text == "1"
    assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        ("gzip, deflate, br, zstd", "br"),
        ("gzip", "gzip"),
        ("br;q=0, gzip;q=0.5", "gzip"),
        ("identity", None),
        ("deflate", None),
    ],
)
async def test_assets_are_sent_as_the_build_compressed_them(build: Path, accept: str, coding: str | None) -> None:
    script = "alert('a script');" * 100
    file = build / "assets" / "main-abc.js"
    file.write_text(script)
    file.with_suffix(".js.gz").write_bytes(gzip.compress(script.encode()))
    file.with_suffix(".js.br").write_bytes(brotli.compress(script.encode()))
    async with pages(build) as http:
        response = await http.get("/assets/main-abc.js", headers={"accept-encoding": accept})
        etag = {"accept-encoding": accept, "if-none-match": response.headers["etag"]}
        assert (await http.get("/assets/main-abc.js", headers=etag)).status_code == 304
    assert response.headers.get("content-encoding") == coding
    assert response.headers["content-type"].startswith("text/javascript")
    assert response.headers["vary"].lower() == "accept-encoding"
    assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert response.text == script
    if coding:
        assert int(response.headers["content-length"]) < len(script) / 10


async def test_assets_that_the_build_did_not_compress_are_compressed_when_they_are_sent(build: Path) -> None:
    (build / "assets" / "main-abc.js").write_text("1;" * 1_000)
    async with pages(build) as http:
        response = await http.get("/assets/main-abc.js", headers={"accept-encoding": "gzip"})
    assert response.headers["content-encoding"] == "gzip"
    assert response.text == "1;" * 1_000


@pytest.mark.parametrize(
    "path", ["../index.html", "%2e%2e/index.html", "..%2findex.html", "../../secret.txt", "%2fetc/passwd", "", "nope"]
)
async def test_nothing_but_assets_is_served_from_there(build: Path, path: str) -> None:
    async with pages(build) as http:
        assert (await http.get(f"/assets/{path}")).status_code in (404, 405)


@pytest.mark.parametrize(
    ("method", "accept", "title"),
    [("GET", PAGE["accept"], "Flow Runs"), ("GET", "*/*", None), ("POST", PAGE["accept"], None)],
)
async def test_unknown_address_is_a_page_for_browsers_only(
    build: Path, method: str, accept: str, title: str | None
) -> None:
    async with pages(build) as http:
        response = await http.request(method, "/runs", headers={"accept": accept})
    assert response.status_code == 404
    assert response.text == "Not Found" if title is None else f"<title>{title}</title>" in response.text


async def test_missing_build_is_reported(tmp_path: Path) -> None:
    async with pages(tmp_path / "nothing") as http:
        response = await http.get("/")
        assert (await http.get("/assets/main-abc.js")).status_code == 404
    assert response.status_code == 404
    assert "scripts/build-web" in response.text
    assert "POST" in response.text


def request_of(method: str, accept: str, query_string: str = "") -> Request:
    headers = [(b"accept", accept.encode())]
    return Request({"type": "http", "method": method, "headers": headers, "query_string": query_string.encode()})


def test_the_page_is_for_browsers_that_ask_for_one(tmp_path: Path) -> None:
    served = Pages(tmp_path)
    assert served.is_page_request(request_of("GET", PAGE["accept"]))
    assert not served.is_page_request(request_of("GET", PAGE["accept"], "query=x"))
    assert not served.is_page_request(request_of("GET", "*/*"))
    assert not served.is_page_request(request_of("POST", PAGE["accept"]))


@pytest.mark.parametrize("path", ["/", "/graphql"])
async def test_the_pages_need_no_key(idle_app: App, path: str) -> None:
    assert (await idle_app.http.get(path, headers=PAGE)).status_code in (200, 404)


async def test_service_is_healthy_and_ready(idle_app: App) -> None:
    assert (await idle_app.http.get("/healthz")).text == "ok\n"
    assert (await idle_app.http.get("/readyz")).text == "ready\n"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("UPDATE alembic_version SET version_num = '0001'", MISSING),
        ("UPDATE alembic_version SET version_num = 'x'", NEWER),
        ("DROP TABLE alembic_version", MISSING),
    ],
)
async def test_service_is_not_ready_before_its_database_is_migrated(
    idle_app: App, database_url: str, change: str, reason: str
) -> None:
    await query(database_url, f"UPDATE {OLDEST} SET version_num = 'x'", change)
    response = await idle_app.http.get("/readyz")
    assert (response.status_code, response.text) == (503, f"{reason}\n")
    assert (await idle_app.http.get("/healthz")).status_code == 200


async def test_service_is_not_ready_without_its_database(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'no' / 'such' / 'folder.db'}"
    database = open_database(url)
    settings = Settings(database_url=url, secret_keys=SecretStr(new_key()), token_keys=SecretStr(new_key()))
    app = create_service(settings, database, ids.new_uuid(), with_worker=False).app
    async with client(app) as http:
        response = await http.get("/readyz")
        assert response.status_code == 503
        assert "unavailable" in response.text
        assert (await http.get("/healthz")).status_code == 200
    await database.close()


async def test_schema_of_the_flow_language_accepts_the_demo_flows(idle_app: App) -> None:
    response = await idle_app.http.get("/schemas/flow-definition.json")
    assert response.headers["content-type"] == "application/schema+json"
    validator = jsonschema_rs.Draft202012Validator(response.json())
    for definition in FLOWS.values():
        validator.validate(definition)
    assert not validator.is_valid({"steps": [{"name": "a", "kind": "nope", "input": 1}]})
    assert not validator.is_valid({"steps": []})


async def test_slashes_at_the_end_are_redirected_within_the_service(idle_app: App) -> None:
    """Whatever the request says: the answer may be kept by a proxy, and a proxy may end TLS."""
    for path, location in (
        ("/graphql/?query=x", "/graphql?query=x"),
        ("/flows/", "/flows"),
        ("//evil.example/", "/evil.example"),
        ("/%5Cevil.example/", "/%5Cevil.example"),
        ("//", "/"),
    ):
        answer = await idle_app.http.get(f"{BASE_URL}{path}", headers={"host": "evil.example"})
        assert (answer.status_code, answer.headers["location"]) == (307, location)
    answer = await idle_app.http.post("/graphql/", headers={"x-forwarded-prefix": "/flowruns"})
    assert (answer.status_code, answer.headers["location"]) == (307, "/flowruns/graphql")
