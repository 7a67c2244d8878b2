"""Names and media types of the files that steps store."""

import mimetypes
import re
import unicodedata

MAX_NAME_BYTES = 200
"""Largest size in bytes of a file's name in UTF-8. File systems allow 255, and browsers append a number to a name that
exists."""
MAX_FILES = 1_000
"""Largest number of files of one run. The list of files has no pages."""
UNKNOWN_TYPE = "application/octet-stream"
"""Media type of files of unknown type."""

_WORD = r"[\w!#$&^.+-]{1,100}"
_MEDIA_TYPE = re.compile(rf"{_WORD}/{_WORD}( ?; ?[\w-]{{1,40}}={_WORD})?", re.ASCII)
_RESERVED = re.compile(r'[<>:"|?*]')
"""Characters that Windows does not allow in file names."""
_SPLIT = re.compile(r"[/\\]")


def safe_name(name: str) -> str | None:
    """Returns `name` as a file name that is valid on all systems: without a path and control characters, and shortened.

    Returns None if nothing is left of it.
    """
    last = _SPLIT.split(name)[-1]
    # Category C: control characters, and format characters that make a name look like another one.
    visible = "".join(char for char in unicodedata.normalize("NFC", last) if unicodedata.category(char)[0] != "C")
    plain = _RESERVED.sub("_", visible).strip(" .")
    return _shortened(plain) or None


def _shortened(name: str) -> str:
    if len(name.encode()) <= MAX_NAME_BYTES:
        return name
    stem, dot, suffix = name.rpartition(".")
    end = dot + suffix if dot and len(suffix.encode()) <= 20 else ""
    start = (stem if end else name).encode()[: MAX_NAME_BYTES - len(end.encode())]
    return start.decode(errors="ignore") + end


def media_type(declared: str | None, name: str) -> str:
    """Returns the declared media type if it is valid; if none is declared, the one that the file name implies."""
    if declared is not None:
        return declared.lower() if _MEDIA_TYPE.fullmatch(declared) else UNKNOWN_TYPE
    return mimetypes.guess_type(name)[0] or UNKNOWN_TYPE
