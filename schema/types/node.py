"""The Relay interface."""

import strawberry


@strawberry.interface(description="What has a global ID.")
class Node:
    """What has a global ID."""

    id: strawberry.ID = strawberry.field(description="Says what is meant, and which one.")
