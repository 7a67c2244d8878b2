"""Bulk actions, one for each kind of bulk operation.

A new kind needs a module here, which `_ACTIONS` lists, and a mutation.
"""

from db.bulk.actions.action import BulkAction
from db.bulk.actions.archive import ArchiveRuns, UnarchiveRuns
from db.bulk.actions.cancel import CancelRuns
from db.bulk.actions.delete import DeleteRuns
from db.bulk.actions.erase import EraseRuns
from db.bulk.actions.retry import RetryRuns
from db.row_types import BulkOperationRow
from domain.bulk import BulkKind, BulkResult
from domain.enums import RetryStrategy

_ACTIONS: list[BulkAction] = [
    CancelRuns(),
    ArchiveRuns(),
    UnarchiveRuns(),
    EraseRuns(),
    DeleteRuns(),
    *map(RetryRuns, RetryStrategy),
]
_BY_KIND = {(action.kind, action.strategy): action for action in _ACTIONS}
_TAKES_OVER = {action.kind: action.takes_over for action in _ACTIONS if action.takes_over is not None}


def find(kind: BulkKind, strategy: RetryStrategy | None) -> BulkAction | None:
    """Returns the action of operations of this kind; None if the kind needs a strategy and `strategy` is None."""
    return _BY_KIND.get((kind, strategy))


def of_operation(operation: BulkOperationRow) -> BulkAction:
    """Returns the action of a bulk operation, whose row has `kind` and `strategy`."""
    strategy = RetryStrategy(operation.strategy) if operation.strategy else None
    return _BY_KIND[BulkKind(operation.kind), strategy]


def takes_over(kind: BulkKind) -> tuple[BulkKind, BulkResult]:
    """Returns the kind of the earlier operations whose runs `kind` can select, and the outcome of these runs there."""
    return _TAKES_OVER[kind]
