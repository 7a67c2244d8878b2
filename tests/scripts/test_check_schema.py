"""A breaking change of the schema has to be named in the changelog: scripts/check-schema."""

import runpy
from pathlib import Path

import pytest

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "check-schema"))
OLD = """
directive @a(x: Int) on FIELD
enum Code { ONE TWO }
input Filter { name: String }
interface Node { id: ID! }
type Run implements Node { id: ID! name(first: Int): String }
type Flow { id: ID! }
union Item = Run | Flow
type Query { run(filter: Filter): Run item: Item code: Code }
"""


@pytest.mark.parametrize(
    ("old", "new", "coordinate"),
    [
        ("name(first: Int): String", "", "Run.name"),
        ("name(first: Int): String", "name(first: Int): Int", "Run.name"),
        ("name(first: Int)", "name", "Run.name(first:)"),
        ("name(first: Int)", "name(first: Int, last: Int!)", "Run.name(last:)"),
        ("ONE TWO", "ONE", "Code.TWO"),
        ("{ name: String }", "{ name: String, flow: ID! }", "Filter.flow"),
        ("= Run | Flow", "= Run", "Flow"),
        ("implements Node", "", "Run"),
        ("directive @a(x: Int) on FIELD", "", "@a"),
    ],
)
def test_breaking_change_must_be_named(old: str, new: str, coordinate: str) -> None:
    assert old in OLD
    changed = OLD.replace(old, new)
    (line,) = SCRIPT["unnamed_changes"](OLD, changed, "`name`, Run.name and others changed")
    assert f"Name `{coordinate}` in CHANGELOG.md." in line
    assert SCRIPT["unnamed_changes"](OLD, changed, f"| `{coordinate}` | gone |") == []


def test_additions_need_no_name() -> None:
    added = OLD.replace("type Flow {", "type Flow { runs: Int").replace("ONE TWO", "ONE TWO THREE")
    assert SCRIPT["unnamed_changes"](OLD, added, "") == []


def test_changes_since_the_baseline_are_named() -> None:
    assert SCRIPT["main"]() == 0
