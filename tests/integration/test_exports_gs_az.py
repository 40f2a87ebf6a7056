"""Exports in Google's and Azure's object stores, over HTTP, against servers on this machine.

Azure's server is `azurite` from npm: on the PATH, or where `.ci/run` puts it.
"""

from __future__ import annotations

import base64
import gzip
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connectors.exports import fingerprint, open_exports
from connectors.exports.parquet_reader import stop_worker
from schemas.errors import ExportError
from schemas.profile import Profile
from tests.ports import port_kept

ROWS = b"a;b;c\n" + b"".join(b"%d;%d;x\n" % (n, n * 7919) for n in range(50_000))
PROFILE = Profile.from_toml(
    'name = "x"\ncountry = "NO"\n[file]\nseparator = ";"\n[columns]\nuser = "a"\nmeter_point = "b"\n', "x"
)
INBOX = "inbox"
AZURITE = Path.home() / ".cache" / "meterfeed-ci" / "node_modules" / ".bin" / "azurite-blob"

Put = Callable[[str, bytes], str]


def is_listening(port: int) -> bool:
    with socket.socket() as caller:
        caller.settimeout(5)
        return caller.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def serving(command: list[str], port: int, **environ: str) -> Iterator[None]:
    """A server of its own process, until it answers, whatever it answers."""
    with subprocess.Popen(
        command, env=os.environ | environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            end = time.monotonic() + 240
            while not is_listening(port):
                if process.poll() is not None:
                    raise RuntimeError(f"{command[0]} ended with {process.returncode}")
                assert time.monotonic() < end, f"{command[0]} does not come up"
                time.sleep(0.1)
            yield
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def google() -> Iterator[Put]:
    script = "import sys; from gcp_storage_emulator.__main__ import main; sys.exit(main(sys.argv[1:]))"
    options = ["start", "--host=127.0.0.1", "--in-memory", f"--default-bucket={INBOX}"]
    with (
        port_kept() as port,
        serving([sys.executable, "-W", "ignore", "-c", script, *options, f"--port={port}"], port),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        patch.setenv("FSSPEC_GS_TOKEN", "anon")  # read by the process that reads Parquet
        patch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # asks over gRPC, which the server lacks
        patch.setitem(fsspec.config.conf, "gs", {"token": "anon"})
        patch.setenv("NO_PROXY", "*")
        yield from putting("gs")


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Put]:
    program = shutil.which("azurite-blob") or (str(AZURITE) if AZURITE.exists() else None)
    if program is None:
        pytest.skip("azurite is not installed: npm install --global azurite")
    key = base64.b64encode(secrets.token_bytes(64)).decode()
    folder = tmp_path_factory.mktemp("azurite")
    command = [program, "--blobHost", "127.0.0.1", "--location", str(folder)]
    options = ["--silent", "--skipApiVersionCheck", "--disableTelemetry"]
    with (
        port_kept() as port,
        serving([*command, *options, "--blobPort", str(port)], port, AZURITE_ACCOUNTS=f"tests:{key}"),
        pytest.MonkeyPatch.context() as patch,
    ):
        told = (
            f"DefaultEndpointsProtocol=http;AccountName=tests;AccountKey={key};"
            f"BlobEndpoint=http://127.0.0.1:{port}/tests;"
        )
        patch.setenv("AZURE_STORAGE_CONNECTION_STRING", told)
        patch.setenv("NO_PROXY", "*")
        fsspec.filesystem("az").mkdir(INBOX)
        yield from putting("az")


def putting(scheme: str) -> Iterator[Put]:
    """A way to store objects, through what reads them."""
    kind = fsspec.get_filesystem_class(scheme)
    stop_worker()  # a reading process of an earlier test knows other credentials
    store = fsspec.filesystem(scheme)

    def put(name: str, content: bytes) -> str:
        store.pipe_file(f"{INBOX}/{name}", content)
        return f"{scheme}://{INBOX}/{name}"

    yield put
    stop_worker()
    kind.clear_instance_cache()


@pytest.fixture(params=["google", "azure"])
def put(request: pytest.FixtureRequest) -> Put:
    """The same tests for both."""
    found: Put = request.getfixturevalue(request.param)
    return found


def count(exports) -> int:
    return sum(batch.rows.height for export in exports for batch in export.batches())


def test_an_object_is_read_like_a_file(put, tmp_path):
    url = put("one/kunder.csv", ROWS)
    (tmp_path / "kunder.csv").write_bytes(ROWS)
    assert 50_000 == count(open_exports([url], [PROFILE]))
    assert fingerprint(str(tmp_path / "kunder.csv")) == fingerprint(url)


def test_a_packed_object_is_unpacked(put):
    assert 50_000 == count(open_exports([put("two/kunder.csv.gz", gzip.compress(ROWS))], [PROFILE]))


def test_folders_and_globs_are_listed(put):
    folder = put("three/a.csv", b"a;b\n1;2\n").rsplit("/", 1)[0]
    put("three/b.csv", b"a;b\n3;4\n")
    put("three/_SUCCESS", b"x")
    names = [
        [export.name for export in open_exports([f"{folder}{end}"], [PROFILE])] for end in ("", "/*.csv")
    ]
    assert [["a.csv", "b.csv"]] * 2 == names


def test_a_parquet_object_is_read(put, tmp_path):
    pq.write_table(pa.table({"a": ["1", "2"], "b": ["3", "4"]}), tmp_path / "x.parquet")
    url = put("four/x.parquet", (tmp_path / "x.parquet").read_bytes())
    assert 2 == count(open_exports([url], [PROFILE]))


def test_an_object_replaced_after_it_was_opened_is_refused(put):
    [export] = open_exports([put("five/kunder.csv", ROWS)], [PROFILE])
    put("five/kunder.csv", ROWS + b"1;2;x\n")
    with pytest.raises(ExportError, match="changed while it was read"):
        count([export])


def test_a_manifest_beside_an_object_must_agree(put):
    url = put("six/kunder.csv", ROWS)
    put("six/kunder.csv.sha256", b"0" * 64)
    with pytest.raises(ExportError, match="not the file its manifest describes"):
        open_exports([url], [PROFILE])


def test_what_is_not_there_is_named_without_its_place(put):
    url = put("seven/kunder.csv", ROWS).replace("kunder", "andre")
    with pytest.raises(ExportError, match=r"andre\.csv fits no object") as stopped:
        open_exports([url], [PROFILE])
    assert INBOX not in str(stopped.value)
