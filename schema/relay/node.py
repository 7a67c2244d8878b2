"""The Relay interface `Node`."""

import strawberry


@strawberry.interface(description="An object with a global ID.")
class Node:
    """An object with a global ID."""

    id: strawberry.ID = strawberry.field(description="The global ID. Its prefix names the type, such as `run_`.")
