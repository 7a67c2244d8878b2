"""Signatures, verified by the library of Standard Webhooks for another language."""

from datetime import UTC, datetime

import orjson
import pytest

from engine.deliveries.sealing import new_secret
from engine.deliveries.sender import signed
from tests.support.processes.node import WEB, running

VERIFY = """
import { Webhook } from 'standardwebhooks'
const cases = JSON.parse(process.argv[2])
console.log(JSON.stringify(cases.map(({ secret, headers, body }) => {
  try { return new Webhook(secret).verify(body, headers).type } catch (problem) { return problem.message }
})))
"""


async def test_npm_library_verifies_the_signatures() -> None:
    if not (WEB / "node_modules" / "standardwebhooks").is_dir():
        pytest.skip("the npm package standardwebhooks is not installed: run scripts/build-web test")
    old, new, other = new_secret(), new_secret(), new_secret()
    body = orjson.dumps({"type": "run.ended", "data": {"name": "Käthe"}})
    headers = signed("msg_1", datetime.now(UTC), body, [new, old])
    forged = body.replace(b"run.ended", b"run.begun")
    cases = [
        {"secret": secret, "headers": headers, "body": sent.decode()}
        for secret, sent in ((old, body), (new, body), (other, body), (new, forged))
    ]
    async with running(VERIFY, orjson.dumps(cases).decode()) as process:
        output, errors = await process.communicate()
    assert output, errors.decode()
    accepted, refused = "run.ended", "No matching signature found"
    assert orjson.loads(output) == [accepted, accepted, refused, refused]
