"""What a sample says of the whole: one figure, with the confidence it has."""

from __future__ import annotations

import math
from typing import Any

LEVEL = 0.95
"""How sure the statement is."""


def confidence(*, read: int, differing: int, users: int, seed: int) -> dict[str, Any]:
    """How many of all users differ at most, from how many of a simple random sample do.

    The bound is the exact one of Clopper and Pearson, one-sided. It takes the sample as drawn with replacement, which
    errs on the safe side.

    Args:
        read: users drawn and read.
        differing: those of them that differ.
        users: users there are.
        seed: of the draw.
    """
    share = upper_bound(differing, read) if read < users else (differing / users if users else 0.0)
    most = min(users, math.ceil(share * users))
    method = (
        f"{read:,} of {users:,} users, drawn at random without replacement, each equally likely (seed {seed})"
    )
    says = (
        f"all users were read, {differing:,} differ"
        if read >= users
        else f"{differing:,} of them differ; with {LEVEL:.0%} confidence at most {share:.2%} of all users do "
        f"({most:,})"
    )
    return {
        "method": method,
        "statement": f"{method}: {says}.",
        "users": users,
        "read": read,
        "differing": differing,
        "at_most_share": round(share, 6),
        "at_most_users": most,
        "confidence": LEVEL,
        "seed": seed,
    }


def upper_bound(hits: int, drawn: int, *, level: float = LEVEL) -> float:
    """The largest share that makes so few hits in so many draws no rarer than 1 - `level`."""
    if drawn == 0 or hits >= drawn:
        return 1.0
    low, high = hits / drawn, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if _at_most(hits, drawn, middle) > 1 - level:
            low = middle
        else:
            high = middle
    return high


def _at_most(hits: int, drawn: int, share: float) -> float:
    """The chance of `hits` or fewer when each draw hits with this chance."""
    if share >= 1.0:
        return 0.0
    logs = math.log(share) if share > 0 else -math.inf
    miss = math.log1p(-share)
    whole = math.lgamma(drawn + 1)
    return math.fsum(
        math.exp(
            whole
            - math.lgamma(k + 1)
            - math.lgamma(drawn - k + 1)
            + (k * logs if k else 0.0)
            + (drawn - k) * miss
        )
        for k in range(hits + 1)
    )
