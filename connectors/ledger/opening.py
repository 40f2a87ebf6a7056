"""What must be true of a ledger before a run may use it: of our version, in force, of this tenant, with its keys."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from connectors.ledger import statements as q
from connectors.ledger import tables as t
from schemas.errors import SettingsError, StorageError
from schemas.ledger import Identity

ARRIVING = "arriving"
"""Fact of a ledger that is being copied: from which ledger it comes. It is not in force yet."""
MOVED = "moved_to"
"""Fact of a ledger that was moved: where to, without a password. It is not in force any more."""

OTHER_TENANT = (
    "Point METERFEED_LEDGER (or METERFEED_DATA_DIR) to the ledger of this tenant, or start an empty one and run "
    "`meterfeed adopt`. If this tenant only got other credentials or another address: `meterfeed ledger relink`."
)


def meta(connection: sa.Connection, key: str) -> str | None:
    """A value of the ledger's `meta` table."""
    found = connection.execute(q.META, {"of_key": key}).scalar()
    return None if found is None else str(found)


def put_meta(connection: sa.Connection, values: Mapping[str, str]) -> None:
    """Write values of the `meta` table, over older ones."""
    for key, value in values.items():
        if not connection.execute(q.CHANGE_META, {"of_key": key, "to": value}).rowcount:
            connection.execute(t.meta.insert().values(key=key, value=value))


def is_empty(connection: sa.Connection) -> bool:
    """Whether there is no ledger yet.

    Raises:
        StorageError: there is something else.
    """
    names = sa.inspect(connection).get_table_names()
    if names and t.meta.name not in names:
        raise StorageError(
            "The database is no ledger: it holds tables of something else.",
            cure="Give the ledger a database of its own.",
        )
    return not names


def found_version(connection: sa.Connection) -> int:
    """The schema version of a ledger.

    Raises:
        StorageError: it has none.
    """
    try:
        return int(meta(connection, "schema_version") or "")
    except ValueError:
        raise StorageError(
            "The database is no ledger: it has no schema version.", cure="Check METERFEED_LEDGER."
        ) from None


def create(connection: sa.Connection, identity: Identity, now: float) -> None:
    """Make an empty ledger for a tenant; the caller commits."""
    t.create_all(connection)
    put_meta(
        connection,
        {
            "schema_version": str(t.SCHEMA_VERSION),
            "fence": "0",
            "ledger_id": secrets.token_hex(8),
            "created_at": str(now),
            "tenant": identity.tenant_under(identity.keys[0]),
            "base_url": identity.base_url,
        },
    )
    _learn_keys(connection, identity.keys, now)


def check_in_force(connection: sa.Connection) -> None:
    """See that the ledger was not moved away, and that its own arrival came to an end.

    Raises:
        SettingsError: it is not the one to use.
    """
    if (target := meta(connection, MOVED)) is not None:
        raise SettingsError(
            f"This ledger was moved to {target}.", cure="Point METERFEED_LEDGER there. Nothing was changed."
        )
    if meta(connection, ARRIVING) is not None:
        raise SettingsError(
            "This ledger is the target of a move that did not come to its end.",
            cure="Run the same `meterfeed ledger move` again, or use the ledger it came from.",
        )


def describe(connection: sa.Connection) -> dict[str, Any]:
    """What a ledger says of itself: version, whether it is in force, keys, runs, what is open, what is held."""

    def counted(query: sa.Select[Any]) -> dict[str, int]:
        return {str(name): int(count) for name, count in connection.execute(query)}

    chunks = (
        sa.select(t.chunk.c.state, sa.func.sum(t.chunk.c.n)).where(t.UNFINISHED).group_by(t.chunk.c.state)
    )
    return {
        "schema_version": found_version(connection),
        "moved_to": meta(connection, MOVED),
        "arriving": meta(connection, ARRIVING) is not None,
        "opened": int(meta(connection, "fence") or 0),
        "id_keys": len(key_names(connection)),
        "runs": counted(sa.select(t.run.c.state, sa.func.count()).group_by(t.run.c.state)),
        "open_records": counted(chunks),
        "held_records": counted(
            sa.select(t.holding.c.kind, sa.func.sum(t.holding.c.n)).group_by(t.holding.c.kind)
        ),
    }


# ------------------------------------------------------------------ identity
def key_names(connection: sa.Connection) -> list[str]:
    """Fingerprints of the id keys this ledger knows, oldest first."""
    return list(connection.execute(sa.select(t.id_key.c.fingerprint).order_by(t.id_key.c.version)).scalars())


def check_identity(connection: sa.Connection, identity: Identity, now: float, *, relink: bool) -> list[str]:
    """See that the ledger is of this tenant, and learn an id key that is announced as new.

    Args:
        relink: the tenant may have another name or address now; its keys are checked all the same.

    Returns:
        Runs whose plans were dropped because the key is new: once that is committed, their spools serve nobody.

    Raises:
        SettingsError: it is not, or a key it needs is missing.
    """
    if not relink and meta(connection, "base_url") != identity.base_url:
        raise SettingsError(
            "This ledger belongs to another base url than the settings name.", cure=OTHER_TENANT
        )
    known = key_names(connection)
    if missing := [key for key in known if key not in identity.keys]:
        raise _missing_keys(len(missing), known, identity)
    if not relink and meta(connection, "tenant") != identity.tenant_under(known[0]):
        raise SettingsError(
            "This ledger belongs to another tenant than the settings name.", cure=OTHER_TENANT
        )
    if identity.key in known:
        return []
    _refuse_while_unfinished(connection)
    dropped = _drop_plans(connection)
    _learn_keys(connection, [identity.key], now)
    return dropped


def relink(connection: sa.Connection, identity: Identity) -> None:
    """Write down the tenant's name and address as they are now; the caller commits."""
    tenant = identity.tenant_under(key_names(connection)[0])
    put_meta(connection, {"tenant": tenant, "base_url": identity.base_url})


def _missing_keys(count: int, known: list[str], identity: Identity) -> SettingsError:
    if identity.key not in known and not identity.former:
        return SettingsError(
            "This ledger knows another id key than METERFEED_ID_KEY: every customer would be created again.",
            cure="Put the key back that was used so far. If it was changed on purpose, set "
            "METERFEED_ID_KEY_PREVIOUS to the former one. If the ledger is another tenant's: " + OTHER_TENANT,
        )
    return SettingsError(
        f"This ledger knows another {count} id key(s) that the settings do not name: customers created with them "
        "would be created again.",
        cure="METERFEED_ID_KEY_PREVIOUS names every former key, one to a line.",
    )


def _refuse_while_unfinished(connection: sa.Connection) -> None:
    """A plan made with the former key may hold customers that are not created yet: they would get a second id."""
    query = sa.select(t.run.c.run_id).where(t.run.c.state == "sending").order_by(t.run.c.run_seq)
    if unfinished := list(connection.execute(query).scalars()):
        raise SettingsError(
            f"The id key was changed while {len(unfinished)} run(s) are unfinished, first {unfinished[0]}.",
            cure="Put the former key back as METERFEED_ID_KEY, run `meterfeed resume`, then change it.",
        )


def _drop_plans(connection: sa.Connection) -> list[str]:
    """Plans that wait for a person were made with the former key: they must be made again. The runs they were of."""
    waiting = t.run.c.state == "planned"
    runs = connection.execute(sa.select(t.run.c.run_id).where(waiting).order_by(t.run.c.run_seq))
    dropped = list(runs.scalars())
    connection.execute(t.run.update().where(waiting).values(state="stopped", plan=None, plan_digest=None))
    return dropped


def _learn_keys(connection: sa.Connection, fresh: list[str], now: float) -> None:
    known = len(key_names(connection))
    connection.execute(
        t.id_key.insert(),
        [
            {"version": known + number, "fingerprint": key, "since": now}
            for number, key in enumerate(fresh, start=1)
        ],
    )
