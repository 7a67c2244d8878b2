"""The reference for metadata conditions: each comparison in plain Python."""

from typing import Any

import orjson

from domain.runs.metadata_condition import MetadataCondition


def contains(document: Any, probe: Any) -> bool:
    if isinstance(probe, dict) and isinstance(document, dict):
        return all(key in document and contains(document[key], value) for key, value in probe.items())
    if isinstance(probe, list) and isinstance(document, list):
        return all(any(contains(each, value) for each in document) for value in probe)
    # As JSON spells them, 1 and true differ, and 1 and 1.0 are one number.
    one, other = (orjson.dumps(float(each) if type(each) is int else each) for each in (document, probe))
    return one == other


def meets(condition: MetadataCondition, document: Any) -> bool:
    """True if the document meets the condition: each comparison in a line."""
    for key in condition.path:
        document = document.get(key) if isinstance(document, dict) else None
    number = document if isinstance(document, int | float) and not isinstance(document, bool) else None
    text = document if isinstance(document, str) else None
    scalars = [condition.equals] if condition.equals is not None else []
    return (
        (condition.exists is None or condition.exists == (document is not None))
        and all(document is not None and contains(document, orjson.loads(value)) for value in scalars)
        and (condition.one_of is None or any(contains(document, orjson.loads(value)) for value in condition.one_of))
        and (not condition.prefix or (text is not None and text.startswith(condition.prefix)))
        and (condition.greater_than is None or (number is not None and number > condition.greater_than))
        and (condition.at_least is None or (number is not None and number >= condition.at_least))
        and (condition.less_than is None or (number is not None and number < condition.less_than))
        and (condition.at_most is None or (number is not None and number <= condition.at_most))
    )
