"""The address of a ledger: which URLs name one, and how one is told to people."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import sqlalchemy as sa

DRIVERS: Final = {
    "sqlite": "sqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}
"""Schemes that may be written, and what each means. SQLAlchemy alone would take psycopg2 for plain `postgresql`."""

SECRET_PARAMETERS: Final = frozenset(
    {"password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"}
)
"""What libpq takes for a secret in a connection string (34.1.2 Parameter Key Words)."""

_CREDENTIALS: Final = re.compile(r"(?:[^:/]*(?::[^@]*)?@)?")
"""User and password as SQLAlchemy finds them: the password ends at the first @."""


def address_of(url: str) -> sa.URL:
    """The URL of a ledger, with the driver that is installed."""
    parsed = sa.engine.make_url(url)
    return parsed.set(drivername=DRIVERS.get(parsed.drivername, parsed.drivername))


def address_problem(url: str) -> str | None:
    """What is wrong with the address of a ledger, without repeating any of it; None: nothing."""
    try:
        parsed = address_of(url)
    except (sa.exc.ArgumentError, ValueError):  # ValueError: a port that is no number
        return "is not an SQLAlchemy URL"
    if parsed.drivername not in DRIVERS.values():
        return "must be an SQLAlchemy URL of sqlite or postgresql"
    if parsed.drivername == "sqlite":
        return "names no file: sqlite:/// and its path" if parsed.host or not parsed.database else None
    # What follows the @ is taken for the host, and a driver repeats a host it cannot find.
    if "@" in _CREDENTIALS.sub("", url.partition("://")[2], count=1):
        return "holds an @ too many: in a password it must be percent-encoded, as %40"
    return None


def without_secrets(url: str) -> str:
    """The address as it is told: whoever uses it as it stands gets to the same ledger."""
    parsed = address_of(url)
    if (file := file_of(url)) is not None:
        return f"sqlite:///{file}"
    query = {name: value for name, value in parsed.query.items() if name not in SECRET_PARAMETERS}
    return parsed._replace(password=None).set(query=query).render_as_string()


def holds_secret(url: str) -> bool:
    """Whether a password or another secret stands in the address."""
    parsed = address_of(url)
    return bool(parsed.password) or not SECRET_PARAMETERS.isdisjoint(parsed.query)


def file_of(url: str) -> Path | None:
    """The file of an SQLite ledger; None for PostgreSQL."""
    parsed = address_of(url)
    if parsed.get_backend_name() != "sqlite":
        return None
    return Path(parsed.database or "ledger.sqlite").absolute()
