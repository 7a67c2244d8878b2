"""Values in the template of a URL."""

import re
from collections.abc import Iterator

from engine.templates.encodings import quoted
from engine.templates.meter import Meter, template_error
from engine.templates.operations import EncodedUrlText, UrlText

_BEHIND_HOST = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*[/?#]")
"""Matches the beginning of a URL with complete scheme and host."""
_MAX_HEAD = 4_096
"""Number of characters within which scheme and host must be complete."""
_DOTS = re.compile(r"(?:\.|%2e){1,2}", re.IGNORECASE)
"""Matches a segment of a path that means this folder or its parent."""


def url_pieces(meter: Meter, pieces: Iterator[str]) -> Iterator[str]:
    """Yields the pieces of a URL; values of expressions are percent-encoded once scheme and host are complete.

    What the filter `urlencode` has made is left as it is.

    Raises:
        StepError: TEMPLATE_ERROR, a value would be the path segment `.` or `..`, and so lead to another path.
    """
    head, is_behind_host = "", False
    segment, has_value, in_path = "", False, True
    for piece in pieces:
        if not is_behind_host:
            yield piece
            head = (head + piece)[:_MAX_HEAD]
            if match := _BEHIND_HOST.match(head):
                is_behind_host = True
                in_path = match[0].endswith("/")
                segment, has_value = head[match.end() :].rpartition("/")[2], False
            continue
        if isinstance(piece, UrlText):
            piece = str(piece) if isinstance(piece, EncodedUrlText) else quoted(meter, piece)
            segment, has_value = segment + piece, True
            yield piece
            continue
        end = re.search(r"[/?#]", piece)
        if end is None:
            segment += piece
        else:
            if in_path and has_value:
                _check_segment(segment + piece[: end.start()])
            in_path = in_path and not re.search(r"[?#]", piece)
            segment, has_value = re.split(r"[/?#]", piece)[-1], False
        yield piece
    if in_path and has_value:
        _check_segment(segment)


def _check_segment(segment: str) -> None:
    if _DOTS.fullmatch(segment):
        raise template_error(f"A value makes {segment!r} a part of the URL's path, which leads to another path")
