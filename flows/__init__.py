"""What can be started: the command line, the Prefect flows, settings, and the wiring of ports. No logic.

May import everything. Prefect is imported in the flow modules only, so the command line starts without it.
"""

from __future__ import annotations

import gc
import os

# Read once, when Polars is loaded: one arena, and what was freed is kept half a minute for the next batch.
# Measured on ten million rows: a tenth less CPU (nine of ten page faults gone) and 55 MB less at the peak.
os.environ.setdefault("_RJEM_MALLOC_CONF", "narenas:1,dirty_decay_ms:30000")

# A chunk makes thousands of short-lived texts and almost no cycles: looking for cycles every 700 objects, as
# Python does, took a tenth of the time of sending.
gc.set_threshold(50_000, 20, 50)
