"""Keys of records as they were sent and as an answer tells them; a batch of them without an object per record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, overload

Key = str | tuple[str, ...]
"""What names a record in a request: a user id, or the ids along its path."""

First_co = TypeVar("First_co", bound=str | None, covariant=True)


@dataclass(frozen=True, slots=True, eq=False)
class Pairs(Sequence[tuple[First_co, str]]):
    """Two columns of equal length read as a list of pairs: compared as columns, made into tuples only when asked."""

    first: Sequence[First_co]
    second: Sequence[str]

    def __len__(self) -> int:
        return len(self.second)

    @overload
    def __getitem__(self, at: int) -> tuple[First_co, str]: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[tuple[First_co, str]]: ...
    def __getitem__(self, at: int | slice) -> Any:
        if isinstance(at, slice):
            return list(zip(self.first[at], self.second[at], strict=True))
        return self.first[at], self.second[at]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Pairs):
            return self.second == other.second and self.first == other.first
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]
