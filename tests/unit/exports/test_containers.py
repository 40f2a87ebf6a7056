"""gzip, zstd and zip: told by their first bytes, and never trusted."""

import gzip
import io
import os
import random
import stat
import zipfile

import pytest
import zstandard

from connectors.exports.containers import Container, unpacked
from connectors.exports.sniff import look_at
from schemas.errors import ExportError

ROWS = b"a;b;c\n" + b"".join(b"%d;%d;%d\n" % (n, n * 7919, n * 104729) for n in range(20_000))


def zstd(content: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(content)


def zipped(
    *entries: tuple[str, bytes], mode: int = stat.S_IFREG | 0o600, packing: int = zipfile.ZIP_DEFLATED
) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", packing) as archive:
        for name, content in entries:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            entry.compress_type = packing
            archive.writestr(entry, content)
    return sink.getvalue()


PACKED = {"gzip": gzip.compress(ROWS, mtime=0), "zstd": zstd(ROWS), "zip": zipped(("kunder.csv", ROWS))}

PACKINGS = {
    "stored": zipfile.ZIP_STORED, "deflate": zipfile.ZIP_DEFLATED, "bzip2": zipfile.ZIP_BZIP2, "lzma": zipfile.ZIP_LZMA,
}  # fmt: skip
"""What a zip's entry may be packed with, and Python unpacks."""


@pytest.mark.parametrize("kind", PACKED)
def test_every_container_gives_every_row(read, kind):
    reading = read(PACKED[kind])
    assert reading.count == len(reading.rows) == 20_000
    assert reading.export.byte_count == len(PACKED[kind])


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.75, 0.9, 0.99])
@pytest.mark.parametrize("kind", PACKED)
def test_in2_a_cut_container_stops_the_file(refusal, kind, share):
    told = refusal(PACKED[kind][: int(len(PACKED[kind]) * share)])
    assert "cut or damaged" in told


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda packed: packed[:-1],
        lambda packed: packed[:-8],
        lambda packed: packed + b"junk",
        lambda packed: packed + b"\0" * 512,
        lambda packed: packed[:-6] + bytes([packed[-6] ^ 1]) + packed[-5:],
    ],
    ids=["last byte", "trailer", "junk", "padding", "checksum"],
)
def test_in2_a_damaged_end_stops_the_file(refusal, kind, damage):
    assert "cut or damaged" in refusal(damage(PACKED[kind]))


@pytest.mark.parametrize("kind", PACKED)
@pytest.mark.parametrize("seed", range(5))
def test_in2_a_flipped_bit_stops_the_file_or_changes_nothing(read, kind, seed):
    packed = bytearray(PACKED[kind])
    place = random.Random(seed).randrange(20, len(packed) - 40)
    packed[place] ^= 4
    try:
        rows = read(bytes(packed)).rows
    except ExportError:
        return
    assert rows == read(ROWS).rows


@pytest.mark.parametrize("packing", PACKINGS)
def test_in2_every_packing_of_a_zip_gives_every_row(read, packing):
    assert 20_000 == read(zipped(("kunder.csv", ROWS), packing=PACKINGS[packing])).count


@pytest.mark.parametrize("packing", PACKINGS)
def test_in2_damage_at_any_byte_of_a_zip_ends_as_a_damaged_zip_or_changes_nothing(packing):
    """Each packing says it in an exception of its own kind; none of them may come out as a bug."""
    content = ROWS[:600]
    packed = zipped(("kunder.csv", content), packing=PACKINGS[packing])
    spared = 0
    for place in range(4, len(packed)):  # the first four say that it is a zip
        damaged = bytearray(packed)
        damaged[place] ^= 0x80
        try:
            assert content == unpacked_text(bytes(damaged))
            spared += 1
        except ExportError:
            continue
    assert 0 < spared < 100  # dates and rights: what the content does not hang on


def unpacked_text(packed: bytes) -> bytes:
    with unpacked(
        io.BytesIO(packed), kind=Container.ZIP, size=len(packed), member=None, expansion=200.0, name="x"
    ) as (content, _):
        return b"".join(iter(lambda: content.read(1 << 20), b""))


def test_in2_a_zip_of_a_version_nobody_knows_is_told_as_damaged_to_whoever_looks_at_it_first(tmp_path):
    packed = bytearray(PACKED["zip"])
    packed[packed.rindex(b"PK\x01\x02") + 6] = 0x94
    (tmp_path / "x.zip").write_bytes(packed)
    with pytest.raises(ExportError, match="damaged zip"):
        look_at(str(tmp_path / "x.zip"))


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_in3_several_members_are_one_file(read, kind):
    pack = {"gzip": gzip.compress, "zstd": zstd}[kind]
    assert read(pack(ROWS[:50_000]) + pack(ROWS[50_000:])).count == 20_000


@pytest.mark.parametrize(
    ("name", "kind", "told"),
    [
        ("x.csv.gz", None, "plain"),
        ("x.csv", "gzip", "gzip"),
        ("x.zip", "zstd", "zstd"),
        ("x.csv.gz", "gzip", None),
    ],
)
def test_in4_the_first_bytes_decide_and_the_report_says_so(read, name, kind, told):
    notes = read(PACKED[kind] if kind else ROWS, name=name).export.notes
    assert notes == ([f"{name} is {told}, whatever its name says."] if told else [])


def bomb(pack) -> bytes:
    return pack(b"a;b;c\n" + (b"1;2;" + b"x" * 76 + b"\n") * 220_000)


@pytest.mark.parametrize("pack", [gzip.compress, zstd, lambda content: zipped(("x", content))], ids=PACKED)
def test_in5_a_bomb_stops_the_file_unless_the_profile_allows_it(refusal, read, pack):
    packed = bomb(pack)
    told = refusal(packed)
    assert "unpacks to more than" in told
    assert "[guards] expansion" in told
    assert read(packed, guards="expansion = 100000.0").count == 220_000


def test_in5_a_container_in_a_container_is_no_csv(refusal):
    assert "x.csv" not in refusal(gzip.compress(PACKED["gzip"]))


@pytest.mark.parametrize(
    ("packed", "told"),
    [
        (zipped(("a.csv", ROWS), ("b.csv", ROWS)), "a zip of 2 files"),
        (zipped(), "a zip of 0 files"),
        (zipped(("folder/", b"")), "a zip of 0 files"),
        (zipped(("a.csv", b"/etc/passwd"), mode=stat.S_IFLNK | 0o777), "is a link"),
        (zipped(("[Content_Types].xml", b"<x/>"), ("xl/workbook.xml", b"<x/>")), "spreadsheet workbook"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "spreadsheet workbook"),
        (b"PK\x03\x04" + b"junk" * 100, "damaged zip"),
    ],
)
def test_in6_only_a_zip_of_one_ordinary_file_is_opened(refusal, packed, told):
    assert told in refusal(packed)


def test_in6_an_encrypted_zip_is_refused(refusal):
    packed = bytearray(zipped(("a.csv", ROWS)))
    packed[6] |= 1
    packed[packed.rindex(b"PK\x01\x02") + 8] |= 1
    assert "encrypted" in refusal(bytes(packed))


def test_in6_a_packing_we_do_not_know_is_refused(refusal):
    packed = bytearray(zipped(("a.csv", ROWS)))
    packed[8] = 97
    packed[packed.rindex(b"PK\x01\x02") + 10] = 97
    assert "do not read" in refusal(bytes(packed))


def test_in6_an_entry_is_read_wherever_its_name_leads_and_written_nowhere(read, tmp_path):
    assert read(zipped(("../../etc/evil.csv", ROWS))).count == 20_000
    assert sorted(os.listdir(tmp_path)) == ["export.csv"]


def test_a_named_entry_is_chosen(read, refusal):
    packed = zipped(("les-meg.txt", b"hei"), ("kunder.csv", ROWS))
    assert read(packed, 'member = "kunder.csv"').count == 20_000
    assert "0 entries of that name" in refusal(packed, 'member = "kunde.csv"')


def test_an_entry_named_for_a_file_that_is_no_zip_is_noted(read):
    assert "is no zip" in read(ROWS, 'member = "kunder.csv"').export.notes[0]


def test_the_declared_format_must_be_the_real_one(refusal):
    assert "not Parquet" in refusal(ROWS, 'format = "parquet"')
