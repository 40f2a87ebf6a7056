"""A spool that other machines read: in a folder, and in an object store (test_sharing.py uses a real S3 server)."""

from __future__ import annotations

import os
import time
from pathlib import Path
from unittest.mock import Mock

import fsspec
import polars as pl
import pytest

from connectors.shared_spool import SharedRoot, SharedSpool
from connectors.spool import Spool
from schemas.errors import SettingsError, StorageError


@pytest.fixture
def spool(tmp_path: Path):
    made = Spool.create(tmp_path / "spool", partitions=4)
    rows = pl.DataFrame(
        {"id": [f"u{n}" for n in range(100)], "bucket": pl.Series(range(100), dtype=pl.UInt8)}
    )
    made.append("plan_create_users", rows)
    made.append("rows", rows)
    made.finish({"plan": "digest"})
    yield made
    made.close()


@pytest.fixture
def root(tmp_path: Path) -> SharedRoot:
    return SharedRoot(str(tmp_path / "shared"))


def test_what_is_published_reads_as_the_spool_itself_does(spool: Spool, root: SharedRoot, tmp_path: Path):
    root.folder("run").publish(spool, without=["rows"])
    shared = SharedSpool.open(root.folder("run"))
    assert (4, {"plan": "digest"}) == (shared.partitions, shared.facts)
    for partition in range(4):
        assert spool.read("plan_create_users", partition).equals(shared.read("plan_create_users", partition))
        assert spool.row_count("plan_create_users", partition) == shared.row_count(
            "plan_create_users", partition
        )
    assert (0, 0) == (shared.read("rows", 0).width, shared.row_count("rows"))
    assert 0o700 == (tmp_path / "shared" / "run").stat().st_mode & 0o777
    shared.delete()
    assert not (tmp_path / "shared" / "run").exists()


def test_half_a_copy_is_no_spool_and_is_replaced(spool: Spool, root: SharedRoot, tmp_path: Path):
    folder = root.folder("run")
    folder.publish(spool, without=[])
    (tmp_path / "shared" / "run" / "manifest.json").unlink()
    with pytest.raises(StorageError, match="not there"):
        SharedSpool.open(folder)
    folder.publish(spool, without=[])
    assert 100 == SharedSpool.open(folder).row_count("rows")


def test_a_damaged_file_is_an_error_and_not_another_customer(spool: Spool, root: SharedRoot, tmp_path: Path):
    root.folder("run").publish(spool, without=[])
    [file] = (tmp_path / "shared" / "run").glob("plan_create_users-*.arrows")
    content = bytearray(file.read_bytes())
    content[content.index(b"u1")] ^= 1
    file.write_bytes(content)
    shared = SharedSpool.open(root.folder("run"))
    with pytest.raises(StorageError, match="damaged"):
        shared.read("plan_create_users", 0)
    shared.close()


def test_old_spools_are_purged_but_for_runs_that_need_theirs(spool: Spool, root: SharedRoot):
    for run in ("old", "kept"):
        root.folder(run).publish(spool, without=[])
    assert 0 == root.purge(before=time.time() - 3600, keep=[])
    assert 1 == root.purge(before=time.time() + 3600, keep=["kept"])
    assert [False, True] == [root.folder(run).exists() for run in ("old", "kept")]


def test_azure_without_credentials_is_a_wrong_setting(monkeypatch: pytest.MonkeyPatch):
    for name in [name for name in os.environ if name.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    root = SharedRoot("az://container/spools")
    for use in (lambda: root.folder("run"), lambda: root.purge(before=0.0, keep=[])):
        with pytest.raises(
            SettingsError, match=r"cannot be reached \(ValueError\)\. Check METERFEED_SHARED, its cred"
        ):
            use()


def test_a_store_whose_reader_is_not_installed_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fsspec.core, "url_to_fs", Mock(side_effect=ImportError))
    with pytest.raises(SettingsError, match=r"Install meterfeed\[cloud\]"):
        SharedRoot("az://container/spools").folder("run")
