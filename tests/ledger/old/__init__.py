"""Ledgers of earlier versions, made the way those versions made them."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import polars as pl
import sqlalchemy as sa

from connectors.ledger.tables import LEGAL_MOVES
from schemas.ledger import Identity

HERE = Path(__file__).parent


def make_v1(url: str, identity: Identity, *, manifest: pl.DataFrame) -> None:
    """A ledger of schema version 1 in the middle of a run: one chunk acknowledged, one in flight, one planned."""
    engine = sa.create_engine(url)
    n = manifest.height // 3
    parts = [manifest.slice(start, n) for start in range(0, 3 * n, n)]
    with engine.begin() as connection:
        script = (HERE / f"v1_{connection.dialect.name}.sql").read_text(encoding="utf-8")
        for statement in script.split(";;\n"):
            connection.exec_driver_sql(statement)
        connection.execute(
            sa.text("INSERT INTO legal_move (from_state, to_state) VALUES (:a, :b)"),
            [{"a": a, "b": b} for a, b in LEGAL_MOVES],
        )
        facts = {
            "schema_version": "1",
            "fence": "1",
            "ledger_id": "0123456789abcdef",
            "created_at": "1763800000.25",
            "tenant": identity.tenant,
            "base_url": identity.base_url,
            "id_key": identity.key,
        }
        connection.execute(
            sa.text("INSERT INTO meta (key, value) VALUES (:key, :value)"),
            [{"key": key, "value": value} for key, value in facts.items()],
        )
        connection.execute(
            sa.text(
                "INSERT INTO run (run_id, command, environment, profiles, job_digest, state, fence, started_at) "
                "VALUES ('20261122-0001', 'sync', 'sandbox', 'p', 'j', 'sending', 1, 1763800000.5)"
            )
        )
        for number, (state, part) in enumerate(
            zip(("acknowledged", "in_flight", "planned"), parts, strict=True), start=1
        ):
            connection.execute(
                sa.text(
                    "INSERT INTO chunk (chunk_id, run_seq, phase, lane, cursor_from, cursor_to, n, state, attempt, "
                    "absorbed, manifest, fence) VALUES (:id, 1, 'create_users', 0, :start, :stop, :n, :state, "
                    ":attempt, 0, :page, 1)"
                ),
                {
                    "id": f"chunk-{number}",
                    "start": (number - 1) * n,
                    "stop": number * n,
                    "n": n,
                    "state": state,
                    "attempt": int(state != "planned"),
                    "page": page_v1(part),
                },
            )
            if state != "planned":
                connection.execute(
                    sa.text(
                        "INSERT INTO attempt (chunk_seq, attempt, requests, started_at) "
                        "VALUES (:seq, 1, 1, 1763800001)"
                    ),
                    {"seq": number},
                )
    engine.dispose()


def page_v1(frame: pl.DataFrame) -> bytes:
    """A page as version 1 stored it: an Arrow IPC file."""
    buffer = BytesIO()
    frame.write_ipc(buffer, compression="zstd", compat_level=pl.CompatLevel.oldest())
    return buffer.getvalue()
