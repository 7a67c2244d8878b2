"""Names and media types of files."""

import pytest

from domain.runs.run_file import MAX_NAME_BYTES, UNKNOWN_TYPE, media_type, safe_name


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("report.csv", "report.csv"),
        ("../../etc/passwd", "passwd"),
        ("/etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("C:\\temp\\a.txt", "a.txt"),
        ("a\0b\r\nc.txt", "abc.txt"),
        ('a"b:c?.txt', "a_b_c_.txt"),
        ("invoice\u202egpj.exe", "invoicegpj.exe"),
        ("Über größe.txt", "Über größe.txt"),
        (" .hidden. ", "hidden"),
        ("", None),
        ("..", None),
        ("a/..", None),
        ("folder/", None),
        ("\0\x1b", None),
    ],
)
def test_names_have_no_path_and_no_invisible_characters(name: str, safe: str | None) -> None:
    assert safe_name(name) == safe


@pytest.mark.parametrize("name", ["a" * 5_000 + ".csv", "ü" * 5_000 + ".csv", "a." + "b" * 5_000, "😀" * 300])
def test_names_are_shortened(name: str) -> None:
    safe = safe_name(name)
    assert safe is not None
    assert MAX_NAME_BYTES - 4 <= len(safe.encode()) <= MAX_NAME_BYTES
    assert safe.endswith(".csv") is name.endswith(".csv")


@pytest.mark.parametrize(
    ("declared", "name", "expected"),
    [
        (None, "a.csv", "text/csv"),
        (None, "a.html", "text/html"),
        (None, "a", UNKNOWN_TYPE),
        ("Image/PNG", "a.csv", "image/png"),
        ("text/html; charset=UTF-8", "a", "text/html; charset=utf-8"),
        ("text/html\r\nset-cookie: a=b", "a.csv", UNKNOWN_TYPE),
        ("nonsense", "a.csv", UNKNOWN_TYPE),
        ("", "a.csv", UNKNOWN_TYPE),
    ],
)
def test_media_types(declared: str | None, name: str, expected: str) -> None:
    assert media_type(declared, name) == expected
