"""Parquet: types, damage, sizes, and the process that reads it."""

import datetime as dt
import decimal
import os
import random
import signal
import struct
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connectors.exports.parquet_reader import WORKER, stop_worker
from schemas.errors import ExportError

COLUMNS = {"user": "a", "meter_point": "b", "latitude": "la", "longitude": "lo", "status": "s"}


def table(**changed) -> pa.Table:
    columns = {
        "a": ["k1", "k2", "k3"],
        "b": ["707057500068553617"] * 3,
        "la": [59.91, 60.0, None],
        "lo": [10.75, 1e-05, 0.1],
        "s": ["Aktiv", "", "NULL"],
        "navn": ["Kari", "Ola", "Per"],
    }
    return pa.table(columns | changed)


@pytest.fixture
def stored(tmp_path):
    def write(content=None, **options):
        path = tmp_path / "export.parquet"
        pq.write_table(table() if content is None else content, path, **options)
        return path

    return write


def values(reading, place):
    return [row[place] for row in reading.rows]


def test_every_value_becomes_the_text_a_person_would_write(read, stored):
    reading = read(stored(), 'nulls = ["NULL"]', columns=COLUMNS)
    assert reading.rows == [
        ("k1", "707057500068553617", "59.91", "10.75", "Aktiv"),
        ("k2", "707057500068553617", "60", "0.00001", None),
        ("k3", "707057500068553617", None, "0.1", None),
    ]
    assert (reading.lines, reading.records) == ([1, 2, 3], [1, 2, 3])
    assert reading.export.columns_dropped == ("navn",)


def test_numbers_take_the_profiles_decimal_sign(read, stored):
    assert values(read(stored(), 'decimal = ","', columns=COLUMNS), 2)[0] == "59,91"


@pytest.mark.parametrize(
    ("number", "written"),
    [
        ("0.00000001", "0.00000001"),
        ("-0.0000001", "-0.00000010"),
        ("0", "0.00000000"),
        ("10.5", "10.50000000"),
    ],
)
def test_decimals_are_written_out_however_small(read, stored, number, written):
    decimals = pa.array([decimal.Decimal(number), None, decimal.Decimal(number)], pa.decimal128(18, 8))
    assert [written, None, written] == values(read(stored(table(la=decimals)), columns=COLUMNS), 2)


@pytest.mark.parametrize(
    "ids",
    [
        pa.array([707057500068553617, 1, None], pa.int64()),
        pa.array([707057500068553617, 1, None], pa.uint64()),
        pa.array([decimal.Decimal(707057500068553617), decimal.Decimal(1), None], pa.decimal128(18, 0)),
        pa.array(["707057500068553617", "1", None], pa.large_string()),
        pa.array(["707057500068553617", "1", None]).dictionary_encode(),
        pa.array(["707057500068553617", "1", None], pa.string_view()),
    ],
    ids=["int64", "uint64", "decimal", "large_string", "dictionary", "string_view"],
)
def test_pq3_exact_ids_are_read(read, stored, ids):
    assert values(read(stored(table(b=ids)), columns=COLUMNS), 1) == ["707057500068553617", "1", None]


def test_pq3_a_column_of_nothing_is_nothing(read, stored):
    assert values(read(stored(table(b=pa.nulls(3))), columns=COLUMNS), 1) == [None] * 3


def test_pq3_a_flag_may_be_true_or_false(read, stored):
    assert values(read(stored(table(s=[True, False, None])), columns=COLUMNS), 4) == ["true", "false", None]


@pytest.mark.parametrize("column", ["a", "b"])
@pytest.mark.parametrize("type_", [pa.float64(), pa.float32(), pa.float16()])
def test_pq3_a_float_id_stops_the_file_and_says_why(refusal, stored, column, type_):
    told = refusal(stored(table(**{column: pa.array([1, 2, 3], type_)})), columns=COLUMNS)
    assert "a multiple of 64 or 128" in told


@pytest.mark.parametrize(
    "ids",
    [
        pa.array([b"1", b"2", b"3"]),
        pa.array([b"1", b"2", b"3"], pa.binary(1)),
        pa.array([dt.datetime(2026, 1, 1, tzinfo=dt.UTC)] * 3),
        pa.array([dt.date(2026, 1, 1)] * 3),
        pa.array([True, False, True]),
        pa.array([["1"], ["2"], ["3"]]),
        pa.array([{"x": 1}] * 3),
        pa.array([decimal.Decimal("1.5")] * 3),
    ],
    ids=["binary", "fixed binary", "timestamp", "date", "boolean", "list", "struct", "decimal"],
)
def test_pq3_a_type_that_is_no_id_stops_the_file(refusal, stored, ids):
    assert "which meter_point cannot be" in refusal(stored(table(b=ids)), columns=COLUMNS)


def test_pq3_damaged_texts_make_their_rows_unreadable(read, stored):
    no_text = pa.array([b"k1", b"\xff", b"k3"]).view(pa.string())
    assert read(stored(table(a=no_text)), columns=COLUMNS).unreadable == {2: "undecodable"}
    reading = read(stored(table(b=["x" * 65_537, "a\0b", "1"])), columns=COLUMNS)
    assert reading.unreadable == {1: "field_too_long", 2: "nul_byte"}
    assert (reading.lines, reading.count) == ([3], 3)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content[: len(content) // 2],
        lambda content: content[:12],
        lambda content: content[:-8] + b"\0" * 8,
        lambda content: content[:-8] + struct.pack("<I", 2**31 - 1) + b"PAR1",
        lambda content: content[:-8] + struct.pack("<I", 3) + b"PAR1",
        lambda content: content[: -200 - 8] + b"\0" * 200 + content[-8:],
        lambda content: b"PAR1" + b"a;b;c\n" * 50,
    ],
    ids=["byte", "half", "start", "end", "giant footer", "tiny footer", "zeroed footer", "text"],
)
def test_pq1_a_damaged_file_stops(refusal, stored, tmp_path, damage):
    content = stored().read_bytes()
    (tmp_path / "damaged.parquet").write_bytes(damage(content))
    assert "damaged" in refusal(tmp_path / "damaged.parquet", columns=COLUMNS)


def test_pq1_a_csv_under_a_parquet_name_is_a_csv(read):
    assert read(b"a;b;c\n1;2;3\n", name="x.parquet").count == 1


def test_pq2_a_flipped_bit_is_caught_by_page_checksums(read, stored, tmp_path):
    rows = [str(random.Random(n).random()) for n in range(3000)]
    path = stored(
        pa.table({"a": rows, "b": rows}),
        write_page_checksum=True,
        compression="none",
        use_dictionary=False,
    )
    content = path.read_bytes()
    sought = random.Random(1)
    for _ in range(6):
        damaged = bytearray(content)
        damaged[sought.randrange(200, len(content) // 2)] ^= 1 << sought.randrange(8)
        (tmp_path / "flipped.parquet").write_bytes(damaged)
        with pytest.raises(ExportError):
            read(tmp_path / "flipped.parquet")


def test_pq2_what_could_not_be_verified_is_said(read, stored):
    assert "could not be verified" in read(stored(), columns=COLUMNS).export.notes[0]
    assert read(stored(write_page_checksum=True), columns=COLUMNS).export.notes == []


def test_pq4_many_small_row_groups_are_streamed(read, stored):
    many = pa.table({"a": [str(n) for n in range(3000)], "b": ["1"] * 3000})
    assert read(stored(many, row_group_size=1)).lines == list(range(1, 3001))


def test_pq4_a_row_group_that_is_too_large_is_refused_before_reading(refusal, stored, monkeypatch):
    monkeypatch.setattr("connectors.exports.parquet_reader.LARGEST_GROUP", 100)
    assert "row group" in refusal(stored(), columns=COLUMNS)


def test_pq5_rows_that_are_not_there_are_missed(refusal, stored, tmp_path):
    """The row count of the file and of its one row group, 3000 both, are made to say 3001."""
    content = stored(pa.table({"a": [str(n) for n in range(3000)], "b": ["1"] * 3000})).read_bytes()
    three_thousand, one_more = b"\xf0\x2e", b"\xf2\x2e"  # zigzag varints
    footer = struct.unpack("<I", content[-8:-4])[0] + 8
    lied = content[:-footer] + content[-footer:].replace(b"\x16" + three_thousand, b"\x16" + one_more)
    assert lied != content
    (tmp_path / "lied.parquet").write_bytes(lied)
    refusal(tmp_path / "lied.parquet")


def test_pq5_a_constant_column_times_a_million_is_a_bomb(refusal, read, stored):
    path = stored(pa.table({"a": pa.array(["x" * 50] * 1_000_000), "b": pa.array(["y"] * 1_000_000)}))
    assert path.stat().st_size < 100_000
    assert "[guards] expansion" in refusal(path)
    assert read(path, guards="expansion = 1e9").batches == 7


def test_pq5_the_reading_process_is_bounded(stored):
    code = (
        f"import runpy; worker = runpy.run_path({str(WORKER)!r}); import resource;"
        "worker['resource'].setrlimit(resource.RLIMIT_AS, (worker['MOST_MEMORY'],) * 2); bytearray(5 << 30)"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, check=False)
    assert b"MemoryError" in done.stderr


def test_pq6_an_encrypted_file_is_refused(refusal, tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"PARE" + os.urandom(100) + struct.pack("<I", 60) + b"PARE")
    refusal(tmp_path / "x.parquet", columns=COLUMNS)


def test_pq6_an_extension_type_is_what_it_is_stored_as(read, refusal, stored):
    class Secret(pa.ExtensionType):
        def __init__(self):
            super().__init__(pa.binary(), "test.secret")

        def __arrow_ext_serialize__(self):
            return b""

        @classmethod
        def __arrow_ext_deserialize__(cls, storage_type, serialized):
            return cls()

    ids = pa.ExtensionArray.from_storage(Secret(), pa.array([b"1", b"2", b"3"]))
    assert "which meter_point cannot be" in refusal(stored(table(b=ids)), columns=COLUMNS)


def test_pq7_each_file_of_a_folder_stands_for_itself(tmp_path, make_profile):
    folder = tmp_path / "folder"
    folder.mkdir()
    pq.write_table(pa.table({"a": ["1"], "b": ["2"]}), folder / "part-0.parquet")
    pq.write_table(pa.table({"a": ["1"], "c": ["2"]}), folder / "part-1.parquet")
    (folder / "_SUCCESS").write_bytes(b"")
    from connectors.exports import open_exports

    with pytest.raises(ExportError, match=r'part-1\.parquet lacks the header "b"'):
        open_exports([str(folder)], [make_profile()])


def test_pq8_a_dead_reading_process_stops_the_file(stored, make_profile, monkeypatch, tmp_path):
    from connectors.exports import open_exports

    (export,) = open_exports([str(stored(pa.table({"a": ["1"], "b": ["2"]})))], [make_profile()])
    stop_worker()
    suicide = tmp_path / "suicide.py"
    suicide.write_text(f"import os; os.kill(os.getpid(), {int(signal.SIGSEGV)})")
    monkeypatch.setattr("connectors.exports.parquet_reader.WORKER", suicide)
    with pytest.raises(ExportError, match="ended the process"):
        list(export.batches())


@pytest.fixture
def reading_processes():
    """Process ids of the reading processes that were started since the test began and have not ended."""
    stop_worker()
    before = all_reading_processes()
    return lambda: all_reading_processes() - before


def all_reading_processes() -> set[str]:
    told = subprocess.run(
        ["ps", "-ww", "--ppid", str(os.getpid()), "-o", "pid=,args="],
        capture_output=True,
        check=False,
        text=True,
    )
    return {line.split()[0] for line in told.stdout.splitlines() if "parquet_worker" in line}


def test_a_refused_file_leaves_the_reading_process_to_the_next_one(
    read, refusal, stored, tmp_path, reading_processes
):
    path = stored()
    read(path, columns=COLUMNS)
    before = reading_processes()
    assert len(before) == 1
    whole = path.read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[:4] + whole[-200:])
    refusal(tmp_path / "cut.parquet", columns=COLUMNS)
    (tmp_path / "noise.parquet").write_bytes(whole[:4] + bytes(len(whole) - 300) + whole[-296:])
    refusal(tmp_path / "noise.parquet", columns=COLUMNS)
    assert len(read(path, columns=COLUMNS).rows) == 3
    assert reading_processes() == before


def test_a_reading_process_out_of_memory_is_not_used_again(
    stored, refusal, monkeypatch, tmp_path, reading_processes
):
    starved = tmp_path / "parquet_worker.py"
    starved.write_text(
        "import runpy, sys\n"
        f"worker = runpy.run_path({str(WORKER)!r})\n"
        "def answer(request, out): raise MemoryError\n"
        "worker['_serve'].__globals__['answer'] = answer\n"
        "worker['main']()\n"
    )
    monkeypatch.setattr("connectors.exports.parquet_reader.WORKER", starved)
    assert "needs more memory" in refusal(stored(), columns=COLUMNS)
    assert reading_processes() == set()


def test_a_missing_column_is_named(refusal, stored):
    assert 'lacks the header "b"' in refusal(stored(table().drop_columns("b")), columns=COLUMNS)


def test_an_empty_file_is_refused(refusal, stored):
    assert "holds no row" in refusal(stored(table().slice(0, 0)), columns=COLUMNS)


def test_the_declared_format_must_be_the_real_one(refusal, stored):
    assert "is Parquet by its first bytes" in refusal(stored(), 'format = "csv"', columns=COLUMNS)


def test_no_process_is_left_when_reading_stops_early(stored, make_profile, reading_processes):
    from connectors.exports import open_exports

    many = pa.table({"a": [str(n) for n in range(400_000)], "b": ["1"] * 400_000})
    (export,) = open_exports([str(stored(many))], [make_profile()])
    batches = export.batches()
    next(batches)
    assert len(reading_processes()) == 1
    batches.close()
    assert reading_processes() == set()


def test_who_reads_a_strangers_bytes_is_told_no_secret_but_those_of_an_object_store(
    read, stored, monkeypatch
):
    told = {}

    def started(*arguments, env, **named):
        told.update(env)
        return start(*arguments, env=env, **named)

    start = subprocess.Popen
    secrets = {
        "METERFEED_ID_KEY": "a",
        "PGPASSWORD": "b",
        "PREFECT_API_KEY": "c",
        "AWS_SECRET_ACCESS_KEY": "d",
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    stop_worker()
    monkeypatch.setattr("connectors.exports.parquet_reader.subprocess.Popen", started)
    assert 3 == len(read(stored(table())).rows)
    stop_worker()
    assert {"AWS_SECRET_ACCESS_KEY"} == secrets.keys() & told.keys()
