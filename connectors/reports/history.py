"""Figures of earlier runs, read from their `summary.json`, whatever state those files are in."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

Document = Mapping[str, Any]
"""A `summary.json`, parsed. Keys may be missing, values of the wrong type: files may be old or damaged."""


def count_at(document: Document | None, *path: str) -> int | None:
    """The count at a path of keys, or None."""
    value = _at(document, path)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def text_at(document: Document | None, *path: str) -> str:
    """The text at a path of keys, or nothing."""
    value = _at(document, path)
    return value if isinstance(value, str) else ""


def counts_at(document: Document | None, *path: str) -> dict[str, int]:
    """The names and counts at a path of keys."""
    value = _at(document, path)
    if not isinstance(value, Mapping):
        return {}
    return {str(name): count for name, count in value.items() if type(count) is int}


def names_at(document: Document | None, *path: str) -> tuple[str, ...]:
    """The texts listed at a path of keys."""
    value = _at(document, path)
    return tuple(str(name) for name in value) if isinstance(value, list | tuple) else ()


def record_total(document: Document | None, outcome: str) -> int | None:
    """Records of all kinds with an outcome; None when no kind knows."""
    records = _at(document, ("records",))
    if not isinstance(records, Mapping):
        return None
    known = [count for kind in records if (count := count_at(records, kind, outcome)) is not None]
    return sum(known) if known else None


def seconds_between(started_at: str | None, ended_at: str | None) -> float | None:
    """Seconds from one ISO 8601 instant to another, or None."""
    try:
        span = datetime.fromisoformat(ended_at or "") - datetime.fromisoformat(started_at or "")
    except (ValueError, TypeError):
        return None
    return max(span.total_seconds(), 0.0)


def _at(document: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        if not isinstance(document, Mapping):
            return None
        document = document.get(key)
    return document
