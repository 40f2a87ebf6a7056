"""Exports as text, every row once and counted twice. `open_exports` is the entrance.

* where a file lies: `places.py`; what it is packed in: `containers.py`; its encoding: `encodings.py`
* lines and records told apart: `blocks.py`, `framing.py`; which column is which: `headers.py`
* the two formats: `csv_reader.py`, and `parquet_reader.py` with `parquet_worker.py` in a process of its own
"""

from connectors.exports.batch import RawBatch
from connectors.exports.open import OpenedExport, fingerprint, open_exports

__all__ = ["OpenedExport", "RawBatch", "fingerprint", "open_exports"]
