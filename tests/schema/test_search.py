"""`FlowRunFilter.search` as clients write it."""

from typing import Any

import pytest

from db.search import switch
from domain.errors import fields_of
from tests.support import factory
from tests.support.app import App
from tests.support.run_family import make_flow

LIST = "query($filter: FlowRunFilter) { flowRuns(filter: $filter) { nodes { id input } totalCount } }"
STATS = "query($filter: FlowRunFilter) { flowRunStats(filter: $filter) { total } }"
