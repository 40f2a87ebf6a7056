"""What makes two starts the same job: the same bytes, read the same way, for the same tenant."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.ports import Export
from schemas.profile import Profile

RECORD_VERSION = 1
"""Raised whenever the shape of a record changes: what was done must be done again."""


@dataclass(frozen=True, slots=True)
class Job:
    """A set of exports under their profiles.

    Attributes:
        digest: the same for the same content, profiles, rules, key and environment.
        profiles: their names, joined: history is kept by them.
    """

    digest: str
    profiles: str


def job_of(
    opened: Sequence[tuple[Export, Profile]],
    *,
    environment: str,
    key: str,
    rules: Sequence[str],
    delete_vanished: bool = False,
) -> Job:
    """Name the job these exports make.

    Args:
        rules: digest of the rulebook of each export: they change when a verdict may.
        delete_vanished: removing what vanished is another job than loading the same exports.
    """
    names = "+".join(dict.fromkeys(profile.name for _, profile in opened))
    facts = {
        "exports": [[export.sha256, profile.digest()] for export, profile in opened],
        "rules": list(rules),
        "records": RECORD_VERSION,
        "key": fingerprint(key),
        "environment": environment,
        **({"delete_vanished": True} if delete_vanished else {}),
    }
    return Job(hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest(), names)


def share_a_profile(profiles: str, others: str) -> bool:
    """Whether two runs speak of the same customers: their profiles, joined as `Job.profiles` is, have one in common."""
    return not set(profiles.split("+")).isdisjoint(others.split("+"))


def fingerprint(secret: str) -> str:
    """A name for a secret that tells nothing of it."""
    return hashlib.sha256(b"meterfeed fingerprint\x1f" + secret.encode()).hexdigest()[:16]
