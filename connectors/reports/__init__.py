"""Pages and data people read after a run: no rules about data, no figures of its own, it shows what it gets.

Where do I go to …

* change what a page says: `templates/`
* change a chart: `charts.py`
* change a file's columns: `tables.py`, and docs/report-data.md with it
* compare runs: `trends.py`
"""

from connectors.reports.write import rebuild_reports, write_index, write_run_reports

__all__ = ["rebuild_reports", "write_index", "write_run_reports"]
