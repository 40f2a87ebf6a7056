"""Faults of the sandbox that many tests ask for."""

from __future__ import annotations

from typing import Any


def held_up(on: str, **more: Any) -> dict[str, Any]:
    """A fault that ends a run at once, without a retry: whoever asks is told to come back in a day."""
    return {"kind": "rate-limited", "on": on, "seconds": 100_000, **more}
