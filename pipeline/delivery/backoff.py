"""How long to wait before the next attempt: full jitter, which spreads a crowd, or what the server asked."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.delivery.classifier import Strain

CEILING_SECONDS = 30.0
_BASE_SECONDS = {Strain.THROTTLED: 1.0}
_OTHER_BASE_SECONDS = 0.25


def pause(
    attempt: int,
    *,
    strain: Strain,
    random: Callable[[], float],
    retry_after: float | None = None,
) -> float:
    """Seconds to wait after the `attempt`-th attempt (from 1) failed.

    Args:
        attempt: how many attempts were made.
        strain: of the last one; throttling starts slower (1 s) than the rest (0.25 s).
        random: a float in [0, 1).
        retry_after: seconds the server asked for: a floor, whatever the chance says.
    """
    base = _BASE_SECONDS.get(strain, _OTHER_BASE_SECONDS)
    # 2.0 ** attempt would overflow long after the ceiling is reached
    longest = min(base * 2.0 ** min(attempt - 1, 16), CEILING_SECONDS)
    return max(random() * longest, retry_after or 0.0)
