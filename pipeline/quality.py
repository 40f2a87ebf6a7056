"""Figures about the rows themselves, gathered batch by batch: pure, mergeable, nothing personal left at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from schemas.quality import QualityFigures


class QualityGauge:
    """Gathers the figures of the data-quality report while the rows go by.

    Args:
        files: display names of the exports, by source number.
        rule_columns: which canonical columns a rule looks at, for the shapes in examples.
    """

    def __init__(
        self, files: Sequence[str], *, rule_columns: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        raise NotImplementedError

    def add_rows(self, rows: pl.DataFrame, violations: pl.DataFrame) -> None:
        """Measure a batch of canonical rows with the violations judged in it (`row, rule, severity`)."""
        raise NotImplementedError

    def add_unreadable(self, source: int, unreadable: pl.DataFrame) -> None:
        """Count unreadable lines (`RawBatch.unreadable`: `source_line, lines, reason`)."""
        raise NotImplementedError

    def add_violations(self, violations: pl.DataFrame) -> None:
        """Count violations found later, between rows of different batches (conflicts)."""
        raise NotImplementedError

    def add_customers(self, rows: pl.DataFrame, test_areas: Mapping[str, str]) -> None:
        """Count the customers of one partition: mapped rows, all rows of a customer in the same partition.

        Args:
            rows: `user`, and `meter_point`, `latitude`, `longitude` where the export has them.
            test_areas: name to WKT polygon (longitude before latitude).
        """
        raise NotImplementedError

    def merge(self, other: QualityGauge) -> None:
        """Add what another gauge has seen (other batches of the same run)."""
        raise NotImplementedError

    def figures(self) -> QualityFigures:
        """What was seen so far."""
        raise NotImplementedError
