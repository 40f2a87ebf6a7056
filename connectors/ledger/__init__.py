"""The ledger: the durable memory of intents, attempts and outcomes, and of what the API is believed to hold.

A record's outcome is the state of the one *leaf* chunk that holds it. A chunk is written, with the id and
digest of each of its records, before its first request; a chunk whose records end differently is split into
children that each end alike. So there is no row to update per record, and nothing to add up twice.

SQLite by default, PostgreSQL by URL; the same code and the same tests serve both.
"""

from connectors.ledger.store import Ledger, open_ledger

__all__ = ["Ledger", "open_ledger"]
