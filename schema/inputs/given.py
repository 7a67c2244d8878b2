"""Which optional values a client gives."""

from typing import Any

import strawberry


def given(**values: Any) -> dict[str, Any]:
    """Returns the values that the client gives. Null is a value; a value that is left out is `strawberry.UNSET`."""
    return {name: value for name, value in values.items() if value is not strawberry.UNSET}
