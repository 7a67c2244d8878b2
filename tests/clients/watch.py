"""Follows `flowRunStatusChanged` with the client `gql`, and resumes from its last cursor after each disconnect.

Prints each change as a line of JSON. Arguments: URL, key, cursor to begin after.
"""

import asyncio
import json
import sys

from gql import Client, gql
from gql.transport.exceptions import TransportConnectionFailed
from gql.transport.websockets import WebsocketsTransport
from websockets.exceptions import WebSocketException

QUERY = """subscription ($after: String) { flowRunStatusChanged(after: $after) {
  __typename
  ... on FlowRunStatusChanged { cursor runId change { from to } }
  ... on CaughtUp { cursor } } }"""


async def follow(url: str, key: str, cursor: str) -> None:
    """Prints received events until the process is killed."""
    while True:
        transport = WebsocketsTransport(url=url.replace("http", "ws"), init_payload={"authorization": f"Bearer {key}"})
        try:
            async with Client(transport=transport) as session:
                asked = gql(QUERY)
                asked.variable_values = {"after": cursor}
                async for data in session.subscribe(asked):
                    event = data["flowRunStatusChanged"]
                    cursor = event["cursor"]
                    sys.stdout.write(f"{json.dumps(event)}\n")
                    sys.stdout.flush()
        except (TransportConnectionFailed, WebSocketException, OSError):
            continue  # it was cut off


if __name__ == "__main__":
    asyncio.run(follow(*sys.argv[1:]))
