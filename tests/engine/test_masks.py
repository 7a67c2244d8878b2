"""Tests of the masks that hold for the whole process."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from engine.secrets.masks import Masker, mask_everywhere


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Lets threads take turns after every few instructions."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def test_log_lines_are_masked_while_other_threads_make_maskers(hasty_threads: None) -> None:
    kept = [Masker(["the first value"])]

    def make(number: int) -> None:
        kept.append(Masker([f"value {number:04}"]))

    with ThreadPoolExecutor(1) as beside:
        made = beside.map(make, range(300))
        while len(kept) < 300:
            assert mask_everywhere("got the first value") == "got ***"
        assert len(list(made)) == 300
