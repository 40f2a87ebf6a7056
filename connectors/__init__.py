"""How we touch the world: exports, the API, the ledger, the spool, reports on disk. Thin, no rules about data.

May import: `schemas`. Never imports `pipeline`, `flows`, `sandbox` or Prefect; it fits the ports of
`pipeline/ports.py` by shape, not by inheritance.
"""
