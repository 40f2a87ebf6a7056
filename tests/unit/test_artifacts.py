import os
import stat
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.artifacts import RunFolder, slug
from connectors.shelf import FileShelf
from schemas.errors import StorageError


def test_a_file_is_private_and_whole(tmp_path):
    with RunFolder(tmp_path) as folder:
        path = folder.write("report.html", b"hello")
    assert path.read_bytes() == b"hello"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [found.name for found in tmp_path.iterdir()] == ["report.html"]


def test_a_new_run_folder_is_private(tmp_path):
    with RunFolder.create(tmp_path / "runs", "Nordkraft 2026/03") as folder:
        assert folder.path == tmp_path / "runs" / "nordkraft-2026-03"
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert stat.S_IMODE(folder.path.parent.stat().st_mode) == 0o700


def test_two_that_begin_in_the_same_moment_have_a_folder_each(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "exists", lambda _path: False)  # both look before either has made one
    shelf = FileShelf(tmp_path / "runs")
    with shelf.fresh("quality", now=0.0) as one, shelf.fresh("quality", now=0.0) as other:
        assert ["quality-19700101t000000-1", "quality-19700101t000000-2"] == [one.name, other.name]


@pytest.mark.parametrize("in_the_way", ["runs", "runs/quality-19700101t000000-1"])
def test_a_file_in_the_way_of_a_new_folder_is_passed_by_or_storage_trouble(tmp_path, in_the_way):
    if in_the_way == "runs":
        (tmp_path / "runs").touch()
        with pytest.raises(StorageError):
            FileShelf(tmp_path / "runs").fresh("quality", now=0.0)
    else:
        (tmp_path / "runs").mkdir()
        (tmp_path / in_the_way).touch()
        with FileShelf(tmp_path / "runs").fresh("quality", now=0.0) as shelf:
            assert "quality-19700101t000000-2" == shelf.name


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    with RunFolder(tmp_path) as folder:
        folder.write("report.html", b"old")
        with pytest.raises(TypeError), folder.writing("report.html") as stream:
            stream.write("text, half way")
    assert (tmp_path / "report.html").read_bytes() == b"old"
    assert [found.name for found in tmp_path.iterdir()] == ["report.html"]


def test_a_link_in_the_way_is_replaced_and_never_followed(tmp_path):
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    run = tmp_path / "run"
    run.mkdir()
    (run / "report.html").symlink_to(outside)
    (run / f".report.html.{os.getpid()}.part").symlink_to(outside)
    with RunFolder(run) as folder:
        assert not folder.has("report.html")
        with pytest.raises(StorageError):
            folder.reading("report.html")
        folder.write("report.html", b"ours")
    assert outside.read_bytes() == b"precious"
    assert not (run / "report.html").is_symlink()


def test_a_folder_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(StorageError):
        RunFolder(tmp_path / "link")


def test_a_folder_that_is_missing_is_a_storage_trouble(tmp_path):
    with pytest.raises(StorageError, match="nowhere"):
        RunFolder(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "", ".", "..", "x\x00y", "A.html", "a\n", ".hidden", "é.csv"]
)
def test_only_names_of_the_allow_list_are_written(tmp_path, name):
    with RunFolder(tmp_path) as folder, pytest.raises(ValueError, match="not a file name"):
        folder.write(name, b"")
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300))
def test_any_text_makes_a_safe_slug(text):
    name = slug(text)
    assert 1 <= len(name) <= 70
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert name.strip("-") == name
    assert name not in {"con", "nul", "aux", "prn", "com1", "lpt1"}


@pytest.mark.parametrize("text", ["", "...", "CON", "nul", "../../etc", "\x00", "x" * 500, "日本"])
def test_hostile_texts_make_harmless_slugs(text):
    assert slug(text) not in {"", "con", "nul", ".", ".."}


def test_removing_what_is_not_there_is_fine(tmp_path):
    with RunFolder(tmp_path) as folder:
        folder.remove("report.html")
        folder.write("report.html", b"x")
        with folder.reading("report.html") as stream:
            assert stream.read() == b"x"
        folder.remove("report.html")
        assert not folder.has("report.html")


@pytest.mark.parametrize(
    ("given", "told"), [("device full (os error 28)", "No space left on device."), ("odd", "OSError.")]
)
def test_a_full_disk_that_polars_met_is_called_by_its_name(tmp_path, given, told):
    with RunFolder(tmp_path) as folder, pytest.raises(StorageError) as met, folder.writing("a.csv"):
        raise OSError(given)
    assert met.value.message.endswith(told)


def test_polars_numbers_a_full_disk():
    with pytest.raises(OSError, match=r"\(os error 28\)"), Path("/dev/full").open("wb") as full:
        pl.DataFrame({"a": ["x" * 100] * 10_000}).write_csv(full)
