"""What we do with the data: frames in, frames out. `pipeline/run.py` tells the story, stage by stage.

May import: `schemas`. Reaches the world only through the ports of `pipeline/ports.py`; never imports
`connectors`, `flows`, `sandbox` or Prefect.
"""
