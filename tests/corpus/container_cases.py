"""IN: how files arrive. Truncated, doubly packed, misnamed, empty, explosive, or no file at all."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import random
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import zstandard

from tests.corpus.case import HEADER, Case, csv_of, numbered, row, rows

PLAIN = csv_of(rows(40))
PACKED = gzip.compress(PLAIN, mtime=0)
ZSTD = zstandard.ZstdCompressor(level=3, write_checksum=True).compress(PLAIN)


def _zip(*entries: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in entries:
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), content, compress_type=method)
    return out.getvalue()


def _zip_link() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        entry = zipfile.ZipInfo("kunder.csv", (2026, 1, 1, 0, 0, 0))
        entry.create_system, entry.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, "/etc/hostname")
    return out.getvalue()


def _zip_encrypted() -> bytes:
    """A zip whose flags say that its entry is encrypted, in the local header and in the directory."""
    packed = bytearray(_zip(("kunder.csv", PLAIN)))
    packed[6] |= 1
    packed[packed.rindex(b"PK\x01\x02") + 8] |= 1
    return bytes(packed)


def _flipped(content: bytes, place: int, bit: int = 0) -> bytes:
    changed = bytearray(content)
    changed[place] ^= 1 << bit
    return bytes(changed)


def _truncated() -> Iterator[Case]:
    for kind, suffix, packed in (
        ("gzip", ".gz", PACKED),
        ("zstd", ".zst", ZSTD),
        ("zip", ".zip", _zip(("k.csv", PLAIN))),
    ):
        for percent in (10, 25, 50, 75, 90, 99):
            cut = packed[: max(len(packed) * percent // 100, 4)]
            yield Case(
                name=f"{kind} cut at {percent} %",
                fault="IN2",
                content=cut,
                refused=(),
                file_name=f"k.csv{suffix}",
            )
    for missing in (1, 4, 8):
        yield Case(
            name=f"gzip without its last {missing} bytes", fault="IN2", content=PACKED[:-missing], refused=()
        )
    yield Case(name="gzip with a wrong checksum", fault="IN2", content=_flipped(PACKED, -8), refused=())
    yield Case(name="gzip with a wrong length", fault="IN2", content=_flipped(PACKED, -4), refused=())
    yield Case(name="zstd with a wrong checksum", fault="IN2", content=_flipped(ZSTD, -1), refused=())
    yield Case(name="zstd without its checksum", fault="IN2", content=ZSTD[:-4], refused=())
    yield Case(name="gzip with junk behind it", fault="IN2", content=PACKED + b"junk", refused=())
    yield Case(
        name="gzip with a plain row behind it", fault="IN2", content=PACKED + row(99).encode(), refused=()
    )
    yield Case(name="zstd with junk behind it", fault="IN2", content=ZSTD + b"junk", refused=())
    yield Case(name="gzip header only", fault="IN2", content=PACKED[:10], refused=())
    yield Case(name="gzip magic only", fault="IN2", content=PACKED[:2], refused=())
    yield Case(name="gzip with an unknown method", fault="IN2", content=_flipped(PACKED, 2, 1), refused=())
    chance = random.Random(20)
    for number in range(8):
        place, bit = chance.randrange(12, len(PACKED) - 8), chance.randrange(8)
        yield Case(
            name=f"gzip with flipped bit {number}",
            fault="IN2",
            content=_flipped(PACKED, place, bit),
            refused=(),
        )
    wrong = bytearray(_zip(("k.csv", PLAIN)))
    wrong[14] ^= 1
    wrong[wrong.rindex(b"PK\x01\x02") + 16] ^= 1
    yield Case(name="zip with a wrong checksum", fault="IN2", content=bytes(wrong), refused=())


def _members() -> Iterator[Case]:
    lines = rows(40)
    halves = gzip.compress(csv_of(lines[:20]), mtime=0) + gzip.compress(
        csv_of(lines[20:], header=None), mtime=0
    )
    yield Case(name="gzip in two members", fault="IN3", content=halves, rows=40)
    text = csv_of(lines)
    middle = len(text) // 2
    broken = gzip.compress(text[:middle], mtime=0) + gzip.compress(text[middle:], mtime=0)
    yield Case(name="gzip members that part inside a row", fault="IN3", content=broken, rows=40)
    empty = gzip.compress(b"", mtime=0)
    yield Case(name="gzip with empty members", fault="IN3", content=empty + PACKED + empty, rows=40)
    many = b"".join(gzip.compress(part, mtime=0) for part in text.splitlines(keepends=True))
    yield Case(name="gzip with a member for each line", fault="IN3", content=many, rows=40)
    second = gzip.compress(csv_of(lines[20:]), mtime=0)
    yield Case(
        name="two gzipped exports joined, header and all",
        fault="IN3",
        content=gzip.compress(csv_of(lines[:20]), mtime=0) + second,
        rows=41,
        unreadable={22: "repeated_header"},
    )
    frames = b"".join(zstandard.ZstdCompressor().compress(part) for part in (text[:middle], text[middle:]))
    yield Case(name="zstd in two frames", fault="IN3", content=frames, rows=40)
    yield Case(name="second gzip member cut", fault="IN3", content=halves[:-12], refused=())


def _names() -> Iterator[Case]:
    yield Case(name="plain under .gz", fault="IN4", content=PLAIN, file_name="kunder.csv.gz", rows=40)
    yield Case(name="gzip under .csv", fault="IN4", content=PACKED, file_name="kunder.csv", rows=40)
    yield Case(name="gzip under .zip", fault="IN4", content=PACKED, file_name="kunder.zip", rows=40)
    yield Case(name="zstd under .csv", fault="IN4", content=ZSTD, file_name="kunder.csv", rows=40)
    yield Case(
        name="zip under .csv", fault="IN4", content=_zip(("k.csv", PLAIN)), file_name="kunder.csv", rows=40
    )
    yield Case(name="plain without a suffix", fault="IN4", content=PLAIN, file_name="kunder", rows=40)
    yield Case(name="plain under .parquet", fault="IN4", content=PLAIN, file_name="kunder.parquet", rows=40)
    yield Case(
        name="bzip2, which is not read",
        fault="IN4",
        content=bz2.compress(PLAIN),
        refused=(),
        file_name="k.csv.bz2",
    )
    raw = zlib.compress(PLAIN)
    yield Case(name="bare zlib", fault="IN4", content=raw, refused=())
    workbook = _zip(("[Content_Types].xml", b"<Types/>"), ("xl/workbook.xml", b"<workbook/>"))
    yield Case(name="a workbook under .csv", fault="IN4", content=workbook, refused=())
    yield Case(
        name="an old workbook under .csv",
        fault="IN4",
        content=b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504),
        refused=(),
    )
    yield Case(
        name="a PDF under .csv", fault="IN4", content=b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n", refused=()
    )
    yield Case(
        name="a web page under .csv",
        fault="IN4",
        content=b"<!DOCTYPE html>\n<html><body>Logg inn</body></html>\n",
        refused=(),
    )
    yield Case(name="JSON under .csv", fault="IN4", content=b'[{"Kundenr": "K1"}]\n', refused=())
    yield Case(
        name="plain with a name that starts with a dash",
        fault="IN11",
        content=PLAIN,
        file_name="-rf.csv",
        rows=40,
    )
    yield Case(
        name="plain with a line break in its name",
        fault="IN11",
        content=PLAIN,
        file_name="kun\nder.csv",
        rows=40,
    )
    yield Case(
        name="plain with letters of the north in its name",
        fault="IN11",
        content=PLAIN,
        file_name="kundér ÆØÅ.csv",
        rows=40,
    )


def _bombs() -> Iterator[Case]:
    same = (row(1) + "\n").encode()

    def rows_bomb() -> bytes:
        return gzip.compress(HEADER.encode() + b"\n" + same * 450_000, mtime=0)

    yield Case(name="gzip of one row over and over", fault="IN5", content=rows_bomb, refused=())
    zeros = gzip.compress(PLAIN + bytes(20_000_000), mtime=0)
    yield Case(name="gzip of zeros behind the rows", fault="IN5", content=zeros, refused=())
    squeezed = zstandard.ZstdCompressor(level=1).compress(HEADER.encode() + b"\n" + same * 450_000)
    yield Case(name="zstd of one row over and over", fault="IN5", content=squeezed, refused=())
    yield Case(
        name="zip of one row over and over",
        fault="IN5",
        content=lambda: _zip(("k.csv", PLAIN + same * 450_000)),
        refused=(),
    )
    yield Case(name="gzip inside gzip", fault="IN5", content=gzip.compress(PACKED, mtime=0), refused=())
    yield Case(
        name="zip inside zip", fault="IN5", content=_zip(("k.zip", _zip(("k.csv", PLAIN)))), refused=()
    )
    yield Case(
        name="zip with three hundred entries",
        fault="IN5",
        content=_zip(*((f"{n}.csv", b"") for n in range(300))),
        refused=(),
    )
    lying = bytearray(_zip(("k.csv", PLAIN)))
    place = lying.rindex(b"PK\x01\x02") + 24
    lying[place : place + 4] = struct.pack("<I", 10)
    yield Case(
        name="zip whose directory states too small a size", fault="IN5", content=bytes(lying), refused=()
    )


def _zips() -> Iterator[Case]:
    one = ("kunder.csv", PLAIN)
    yield Case(name="zip with one entry", fault="IN6", content=_zip(one), rows=40)
    yield Case(
        name="zip with one stored entry", fault="IN6", content=_zip(one, method=zipfile.ZIP_STORED), rows=40
    )
    yield Case(
        name="zip with one entry in a folder", fault="IN6", content=_zip(("ut/kunder.csv", PLAIN)), rows=40
    )
    yield Case(
        name="zip with a folder and one entry",
        fault="IN6",
        content=_zip(("ut/", b""), ("ut/kunder.csv", PLAIN)),
        rows=40,
    )
    yield Case(name="zip with two exports", fault="IN6", content=_zip(one, ("to.csv", PLAIN)), refused=())
    named = {"file": {"member": "kunder.csv"}}
    yield Case(
        name="zip with two entries, one named by the profile",
        fault="IN6",
        content=_zip(one, ("les.txt", b"x")),
        profile=named,
        rows=40,
    )
    yield Case(
        name="zip without the entry the profile names",
        fault="IN6",
        content=_zip(("andre.csv", PLAIN)),
        profile=named,
        refused=(),
    )
    yield Case(
        name="zip with the named entry twice", fault="IN6", content=_twice(), profile=named, refused=()
    )
    yield Case(name="zip with nothing in it", fault="IN6", content=_zip(), refused=())
    yield Case(name="zip with only a folder", fault="IN6", content=_zip(("ut/", b"")), refused=())
    yield Case(name="zip with an encrypted entry", fault="IN6", content=_zip_encrypted(), refused=())
    yield Case(name="zip with a symbolic link", fault="IN6", content=_zip_link(), refused=())
    for name in ("../kunder.csv", "/tmp/kunder.csv", "..\\kunder.csv", "ut/../../kunder.csv"):
        yield Case(
            name=f"zip with an entry named {name}",
            fault="IN6",
            content=_zip((name, PLAIN)),
            rows=40,
            may_be_refused=True,
        )
    yield Case(name="zip with an empty entry", fault="IN6", content=_zip(("kunder.csv", b"")), refused=())
    yield Case(name="zip with junk before it", fault="IN6", content=b"junk" * 4 + _zip(one), refused=())


def _twice() -> bytes:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return _zip(("kunder.csv", PLAIN), ("kunder.csv", PLAIN))


def _empty() -> Iterator[Case]:
    for name, content in {
        "empty file": b"",
        "header only": HEADER.encode() + b"\n",
        "header without a line end": HEADER.encode(),
        "byte order mark only": b"\xef\xbb\xbf",
        "line ends only": b"\n\n\n\n",
        "blanks only": b"   \n  \n",
        "header and blank lines": HEADER.encode() + b"\n\n\n\n",
        "half a header": HEADER.encode()[:20],
        "one NUL": b"\0",
        "NULs only": bytes(4096),
        "gzip of nothing": gzip.compress(b"", mtime=0),
        "gzip of a header": gzip.compress(HEADER.encode() + b"\n", mtime=0),
        "zstd of nothing": zstandard.ZstdCompressor().compress(b""),
    }.items():
        yield Case(name=name, fault="IN7", content=content, refused=())
    closed = [row(number, Status="Avsluttet") for number in range(1, 4)]
    yield Case(
        name="every row outside keep",
        fault="IN7",
        content=csv_of(closed),
        rows=3,
        filtered=frozenset({2, 3, 4}),
    )
    yield Case(name="one row", fault="IN7", content=csv_of(rows(1)), rows=1)


def _folder(folder: Path) -> Path:
    path = folder / "kunder.csv"
    path.mkdir()
    return path


def _pipe(folder: Path) -> Path:
    path = folder / "kunder.csv"
    os.mkfifo(path)
    return path


def _linked(target: Callable[[Path], Path]) -> Callable[[Path], Path]:
    def place(folder: Path) -> Path:
        path = folder / "inbox" / "kunder.csv"
        path.parent.mkdir()
        path.symlink_to(target(folder))
        return path

    return place


def _places() -> Iterator[Case]:
    yield Case(name="no such file", fault="IN11", place=lambda folder: folder / "borte.csv", refused=())
    yield Case(name="an empty folder named like an export", fault="IN11", place=_folder, refused=())
    yield Case(name="a named pipe nobody writes to", fault="IN11", place=_pipe, refused=())
    yield Case(
        name="a link to nowhere", fault="IN11", place=_linked(lambda folder: folder / "borte.csv"), refused=()
    )
    yield Case(
        name="a link to itself",
        fault="IN11",
        place=_linked(lambda folder: folder / "inbox" / "kunder.csv"),
        refused=(),
    )
    yield Case(name="a device", fault="IN11", place=lambda _folder: Path(os.devnull), refused=())


def container_cases() -> list[Case]:
    """Every way a file can arrive wrong."""
    parts = (_truncated, _members, _names, _bombs, _zips, _empty, _places)
    return numbered(case for part in parts for case in part())
