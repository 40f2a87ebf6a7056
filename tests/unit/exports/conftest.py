"""One way for all tests here to write an export and read it back."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from connectors.exports import OpenedExport, open_exports
from schemas.errors import ExportError
from schemas.profile import Profile


@dataclass
class Reading:
    rows: list[tuple] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    records: list[int] = field(default_factory=list)
    unreadable: dict[int, str] = field(default_factory=dict)
    unreadable_lines: int = 0
    batches: int = 0
    export: OpenedExport | None = None

    @property
    def count(self) -> int:
        return len(self.rows) + self.unreadable_lines


def profile(file: str = "", columns: dict[str, str] | None = None, guards: str = "") -> Profile:
    columns = columns or {"user": "a", "meter_point": "b"}
    named = "".join(f'{ours} = "{theirs}"\n' for ours, theirs in columns.items())
    text = f'name = "x"\ncountry = "NO"\n[file]\n{file}\n[columns]\n{named}[guards]\n{guards}\n'
    return Profile.from_toml(text, "x.toml")


def drain(export: OpenedExport) -> Reading:
    reading = Reading(export=export)
    for batch in export.batches():
        reading.batches += 1
        reading.lines += batch.rows["source_line"].to_list()
        reading.records += batch.rows["source_record"].to_list()
        reading.rows += batch.rows.drop("source_line", "source_record").rows()
        for line, lines, reason in batch.unreadable.rows():
            reading.unreadable[line] = reason
            reading.unreadable_lines += lines
    return reading


@pytest.fixture
def read(tmp_path):
    """Write `content` and read it: `read(b"a;b\\n1;2\\n")`."""

    def read_(
        content: bytes | Path, file: str = "", *, name: str = "export.csv", columns=None, guards=""
    ) -> Reading:
        path = content
        if isinstance(content, bytes):
            path = tmp_path / name
            path.write_bytes(content)
        (export,) = open_exports([str(path)], [profile('separator = ";"\n' + file, columns, guards)])
        return drain(export)

    return read_


@pytest.fixture
def refusal(read):
    """The sentence with which an export is refused."""

    def refusal_(*args, **kwargs) -> str:
        with pytest.raises(ExportError) as caught:
            read(*args, **kwargs)
        return str(caught.value)

    return refusal_


@pytest.fixture
def make_profile():
    return profile


@pytest.fixture
def drained():
    return drain
