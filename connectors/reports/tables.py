"""The data beside the pages: outcomes.parquet and violations.parquet, and copies a spreadsheet can open.

The columns are a contract with readers, described in docs/report-data.md; a change of meaning raises the
version in the file's metadata. CSV copies are for people: no cell can be a formula, all are text.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Final, Literal, TypedDict

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from connectors.artifacts import RunFolder
from schemas.errors import AccountError, StorageError
from schemas.outcomes import REMOVED, Kind, Outcome

_KINDS = pl.Enum([kind.value for kind in Kind])
REMOVAL = "delete"
"""The operation of its lines, which are counted apart: what no export names is no record of theirs."""
_OUTCOMES = pl.Enum([*(outcome.value for outcome in Outcome), REMOVED])
_SEVERITIES = pl.Enum(["quarantine", "warn"])
_OPERATIONS = pl.Enum(["create", "update", "unchanged", REMOVAL, "release"])


@dataclass(frozen=True, slots=True)
class Table:
    """A table beside the pages: its name, version and columns."""

    name: str
    version: int
    columns: dict[str, pl.DataType | type[pl.DataType]]

    @property
    def file(self) -> str:
        """The name of the Parquet file."""
        return f"{self.name}.parquet"


OUTCOMES = Table(
    "outcomes",
    2,
    {
        "kind": _KINDS,
        "masked_id": pl.String,
        "operation": _OPERATIONS,
        "outcome": _OUTCOMES,
        "reason": pl.String,
        "message": pl.String,
        "attempt_count": pl.UInt16,
        "source_file": pl.String,
        "source_line": pl.UInt32,
        "row_count": pl.UInt32,
    },
)
"""One line per planned record, and per removal of what vanished."""

VIOLATIONS = Table(
    "violations",
    1,
    {
        "source_file": pl.String,
        "source_line": pl.UInt32,
        "rule": pl.String,
        "severity": _SEVERITIES,
        "masked_id": pl.String,
    },
)
"""One line per row and broken rule; a row that breaks three rules has three lines."""

CORRECTS = Table(
    "corrects",
    1,
    {
        "source_sha256": pl.String,
        "source_line": pl.UInt32,
        "corrects_sha256": pl.String,
        "corrects_line": pl.UInt32,
    },
)
"""One line per row of a correction: which row of which file it stands for."""

DRIFT = Table(
    "drift",
    1,
    {
        "kind": _KINDS,
        "drift": pl.Enum(["missing", "different", "unexpected", "doubled"]),
        "user_id": pl.String,
        "id": pl.String,
    },
)
"""One line per record that the API holds otherwise than the ledger believes. Ids are not masked."""

REJECTED_FILE = "rejected.csv"
"""The lines of `OUTCOMES` that the API refused, removals included; there where any were."""
REJECTED = pl.col("outcome") == Outcome.REJECTED.value

SHEET_ROWS = 1_048_575
"""Data rows that fit into a spreadsheet below its header."""
CSV_SEPARATOR = ";"
"""What spreadsheets expect wherever the decimal mark is a comma: the vendor's whole market."""


class _Dialect(TypedDict):
    """How a CSV copy is written."""

    separator: str
    quote_style: Literal["always"]
    line_terminator: str
    null_value: str


IN_PLACE = (Outcome.CREATED.value, Outcome.UPDATED.value, Outcome.UNCHANGED.value, REMOVED)
BATCH_ROWS = 65_536
"""Rows of a copy that are in memory at once."""
_DIALECT: Final = _Dialect(
    separator=CSV_SEPARATOR, quote_style="always", line_terminator="\r\n", null_value=""
)
_FORMULA = "^[=+\\-@\t\r\n\x00＝＋－＠]"
_CONTROLS = "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+"
_ANSI = "\x1b\\[[0-?]*[ -/]*[@-~]"


class TableWriter:
    """Appends frames to one Parquet table of a run."""

    def __init__(self, table: Table, parquet: pq.ParquetWriter, schema: pa.Schema) -> None:
        self._table = table
        self._parquet = parquet
        self._schema = schema
        self.rows = 0

    def append(self, rows: pl.DataFrame) -> None:
        """Add rows; missing columns are null, the order of columns does not matter.

        Raises:
            AccountError: a column the table does not have, or a value that does not fit.
        """
        unknown = sorted(set(rows.columns) - set(self._table.columns))
        if unknown:
            raise AccountError(f"{self._table.file} has no column {', '.join(unknown)}")
        try:
            fitted = rows.select(
                (pl.col(name) if name in rows.columns else pl.lit(None)).cast(dtype).alias(name)
                for name, dtype in self._table.columns.items()
            )
        except pl.exceptions.PolarsError as error:
            raise AccountError(f"a value does not fit {self._table.file} ({type(error).__name__})") from None
        self._parquet.write_table(fitted.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(self._schema))
        self.rows += rows.height


@contextmanager
def writing_table(folder: RunFolder, table: Table) -> Iterator[TableWriter]:
    """Open a table of the run for appending; the file appears when the block ends well.

    Raises:
        StorageError: the disk refuses.
    """
    empty = pl.DataFrame(schema=table.columns).to_arrow(compat_level=pl.CompatLevel.oldest())
    metadata = {"meterfeed.table": table.name, "meterfeed.version": str(table.version)}
    schema = empty.schema.with_metadata(metadata)
    with (
        folder.writing(table.file) as stream,
        pq.ParquetWriter(stream, schema, compression="zstd", store_schema=True) as parquet,
    ):
        yield TableWriter(table, parquet, schema)


def cannot_read(file: str, error: Exception) -> StorageError:
    """A table of a run that we wrote, and that cannot be read."""
    return StorageError(
        f"Cannot read {file} ({type(error).__name__}).",
        cure="Look after the disk of METERFEED_DATA_DIR, then run `meterfeed resume`. For the page of an old run, put "
        "its folder back from a backup: what was sent is in the ledger in any case.",
    )


def write_csv_copy(
    folder: RunFolder, table: Table, *, file: str | None = None, only: pl.Expr | None = None
) -> int:
    """Copy a table of the run to CSV for spreadsheets and return the number of its rows.

    UTF-8 with BOM, `;`, every cell quoted, no cell a formula. A sheet holds `SHEET_ROWS` rows: of a longer
    table the rows that need somebody come first and the rest is left to the Parquet file.

    Args:
        folder: the run folder.
        table: which table.
        file: name of the copy; that of the table if left out.
        only: which rows are copied; all of them if left out.
    """
    written = 0
    with folder.writing(file or f"{table.name}.csv") as stream, folder.reading(table.file) as source:
        stream.write(_header(table))
        for batch in _first_what_needs_somebody(source, table):
            rows = batch if only is None else batch.filter(only)
            sheet = rows.head(SHEET_ROWS - written).select(_inert(name) for name in table.columns)
            sheet.write_csv(stream, include_header=False, **_DIALECT)
            written += sheet.height
            if written >= SHEET_ROWS:
                break
    return written


def _header(table: Table) -> bytes:
    """The byte order mark and the names of the columns."""
    empty = pl.DataFrame(schema=dict.fromkeys(table.columns, pl.String))
    return b"\xef\xbb\xbf" + empty.write_csv(**_DIALECT).encode()


def _first_what_needs_somebody(source: BinaryIO, table: Table) -> Iterator[pl.DataFrame]:
    """The rows of a table in batches; of records, those that are not in place come first.

    Raises:
        StorageError: the file is damaged.
    """
    in_place = pl.col("outcome").cast(pl.String).is_in(IN_PLACE) if "outcome" in table.columns else None
    passes = [None] if in_place is None else [~in_place, in_place]
    try:
        parquet = pq.ParquetFile(source)
        for wanted in passes:
            for batch in parquet.iter_batches(batch_size=BATCH_ROWS):
                rows = pl.DataFrame(batch)
                yield rows if wanted is None else rows.filter(wanted)
    except (OSError, pa.ArrowException) as error:
        raise cannot_read(table.file, error) from None


def _inert(column: str) -> pl.Expr:
    """The column as text on one line, which no spreadsheet takes for a formula, no terminal for a command."""
    text = pl.col(column).cast(pl.String)
    dangerous = text.str.contains(_FORMULA)
    clean = text.str.replace_all(_ANSI, "").str.replace_all(_CONTROLS, " ")
    dangerous |= clean.str.strip_chars_start().str.contains(_FORMULA)
    return pl.when(dangerous).then(pl.lit("'") + clean).otherwise(clean).alias(column)
