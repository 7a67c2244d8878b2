"""Enumerations of text whose values say what they mean."""

from enum import StrEnum
from typing import Self


class DescribedEnum(StrEnum):
    """An enumeration whose values are declared with a sentence that clients see: `NAME = "NAME", "What it means."`."""

    description: str
    """What the value means, in whole sentences."""

    def __new__(cls, value: str, description: str = "") -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member.description = description
        return member
