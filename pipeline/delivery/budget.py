"""The run's allowance for retries, so that a failing server is not hit harder for failing.

Two bounds, both must hold: a bucket of 500 from which a retry takes 14, after throttling 5, and to which a
success gives 1 back; and retries of at most 10 % of all requests, 20 at least allowed. When it is spent the
run stops, resumably.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.delivery.classifier import Strain

CAPACITY = 500
COST = {Strain.THROTTLED: 5}
OTHER_COST = 14
RETURN = 1
RETRY_SHARE = 0.10
ALWAYS_ALLOWED = 20


@dataclass(slots=True)
class RetryBudget:
    """What is left. Call `requested` per request, `succeeded` per success, `take` before a retry."""

    tokens: int = CAPACITY
    requests: int = 0
    retries: int = 0

    def requested(self) -> None:
        """A request was sent, a first one or a retry."""
        self.requests += 1

    def succeeded(self) -> None:
        """An attempt was answered without strain."""
        self.tokens = min(CAPACITY, self.tokens + RETURN)

    def take(self, strain: Strain) -> bool:
        """Pays for one retry after an attempt with this strain; False, and nothing paid, when it is spent."""
        cost = COST.get(strain, OTHER_COST)
        allowed = max(ALWAYS_ALLOWED, int(self.requests * RETRY_SHARE))
        if cost > self.tokens or self.retries >= allowed:
            return False
        self.tokens -= cost
        self.retries += 1
        return True
