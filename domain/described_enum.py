"""Enumerations of text with a description of each value."""

from enum import StrEnum
from typing import Self


class DescribedEnum(StrEnum):
    """An enumeration whose values are declared with the sentence that clients see: `NAME = "NAME", "What it
    means."`."""

    description: str
    """The meaning of the value, in whole sentences."""

    def __new__(cls, value: str, description: str = "") -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member.description = description
        return member
