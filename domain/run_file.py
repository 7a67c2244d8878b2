"""Files that steps produce: how they may be called, and what they are."""

import mimetypes
import re
import unicodedata

MAX_NAME_BYTES = 200
"""Of a file's name in UTF-8: file systems take 255, and browsers add to a name when one is there already."""
MAX_FILES = 1_000
"""Files of one run: what lists them has no pages."""
UNKNOWN_TYPE = "application/octet-stream"

_WORD = r"[\w!#$&^.+-]{1,100}"
_MEDIA_TYPE = re.compile(rf"{_WORD}/{_WORD}( ?; ?[\w-]{{1,40}}={_WORD})?", re.ASCII)
_RESERVED = re.compile(r'[<>:"|?*]')
"""What Windows does not take in the name of a file."""
_SPLIT = re.compile(r"[/\\]")


def safe_name(name: str) -> str | None:
    """`name` as the name of a file in whatever folder: without a path, control characters and what is too long.

    None: nothing is left of it.
    """
    last = _SPLIT.split(name)[-1]
    # Category C: control characters, and the marks that make a name look like another one.
    visible = "".join(each for each in unicodedata.normalize("NFC", last) if unicodedata.category(each)[0] != "C")
    plain = _RESERVED.sub("_", visible).strip(" .")
    return _shortened(plain) or None


def _shortened(name: str) -> str:
    if len(name.encode()) <= MAX_NAME_BYTES:
        return name
    stem, dot, suffix = name.rpartition(".")
    end = dot + suffix if dot and len(suffix.encode()) <= 20 else ""
    start = (stem if end else name).encode()[: MAX_NAME_BYTES - len(end.encode())]
    return start.decode(errors="ignore") + end


def media_type(given: str | None, name: str) -> str:
    """The media type of a file: the one given, if it is one, or what the name says."""
    if given is not None:
        return given.lower() if _MEDIA_TYPE.fullmatch(given) else UNKNOWN_TYPE
    return mimetypes.guess_type(name)[0] or UNKNOWN_TYPE
