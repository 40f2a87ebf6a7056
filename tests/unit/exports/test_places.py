"""Files, folders, globs: what is taken, in which order, and what is refused."""

import errno
import hashlib
import os
import time
from pathlib import Path
from unittest.mock import Mock

import fsspec
import pytest

from connectors.exports import fingerprint, open_exports
from connectors.exports.places import display_name, find_places
from schemas.errors import ExportError, ProfileError

CONTENT = b"a;b;c\n1;2;3\n"


@pytest.fixture
def inbox(tmp_path):
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


def names(*arguments) -> list[str]:
    return [place.basename for place in find_places([str(argument) for argument in arguments])]


def write(folder, *names_):
    for name in names_:
        (folder / name).write_bytes(CONTENT)


def test_a_folder_gives_its_exports_by_name(inbox):
    write(inbox, "b.csv", "a.csv", "10.csv", "_SUCCESS", ".hidden", "x.csv.tmp", "a.csv.sha256", "c.csv.crc")
    (inbox / "deeper").mkdir()
    assert names(inbox) == ["10.csv", "a.csv", "b.csv"]


def test_arguments_keep_their_order_and_nothing_is_read_twice(inbox):
    write(inbox, "a.csv", "b.csv", "c.csv")
    assert names(inbox / "c.csv", inbox / "*.csv", inbox) == ["c.csv", "a.csv", "b.csv"]


def test_a_name_with_glob_signs_is_taken_literally_when_it_is_there(inbox):
    write(inbox, "a[1].csv", "a1.csv")
    assert names(inbox / "a[1].csv") == ["a[1].csv"]


@pytest.mark.parametrize("missing", ["nothing.csv", "*.parquet", "sub/x.csv"])
def test_in11_what_is_not_there_is_refused(inbox, missing):
    with pytest.raises(ExportError):
        names(inbox / missing)


def test_in11_an_empty_folder_is_refused(inbox):
    with pytest.raises(ExportError, match="holds no export"):
        names(inbox)


@pytest.mark.parametrize("call", ["iterdir", "is_dir"])
def test_in11_a_folder_without_rights_is_blamed_itself(inbox, call, monkeypatch):
    """As root nothing is without rights; reading what is in it, or looking at it, fails for anybody else."""
    write(inbox, "a.csv")
    of_path = getattr(Path, call)

    def forbidden(path):
        if path == inbox and call == "is_dir":
            return of_path(path)
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, call, forbidden)
    with pytest.raises(
        ExportError, match=r"The folder inbox cannot be listed: Permission denied\. Check its rights\."
    ):
        names(inbox)


def test_in11_a_pipe_is_refused_at_once(inbox):
    os.mkfifo(inbox / "pipe.csv")
    begun = time.monotonic()
    with pytest.raises(ExportError, match="no ordinary file"):
        names(inbox / "pipe.csv")
    with pytest.raises(ExportError, match="no ordinary file"):
        names(inbox)
    assert time.monotonic() - begun < 60  # it did not hang; the runner's own limit would also say so


def test_in11_a_pipe_put_in_the_place_of_a_file_is_refused(inbox, make_profile):
    write(inbox, "a.csv")
    (place,) = find_places([str(inbox / "a.csv")])
    (inbox / "a.csv").unlink()
    os.mkfifo(inbox / "a.csv")
    with pytest.raises(ExportError, match="no ordinary file"), place.open():
        pass


def test_in11_a_link_out_of_the_folder_is_refused(inbox, tmp_path):
    write(tmp_path, "secret.csv")
    (inbox / "a.csv").symlink_to(tmp_path / "secret.csv")
    for argument in (inbox, inbox / "*.csv"):
        with pytest.raises(ExportError, match="out of its folder"):
            names(argument)


def test_in11_a_link_that_is_named_or_stays_inside_is_followed(inbox):
    write(inbox, "2026.csv")
    (inbox / "latest.csv").symlink_to("2026.csv")
    assert names(inbox / "latest.csv") == ["2026.csv"]
    assert names(inbox) == ["2026.csv"]


@pytest.mark.parametrize("target", ["nowhere.csv", "a.csv"])
def test_in11_a_link_to_nothing_or_to_itself_is_refused(inbox, target):
    (inbox / "a.csv").symlink_to(target)
    with pytest.raises(ExportError, match="link to nothing"):
        names(inbox / "a.csv")


def test_in11_a_file_without_rights_is_refused(inbox, make_profile):
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    write(inbox, "a.csv")
    (inbox / "a.csv").chmod(0)
    with pytest.raises(ExportError, match="cannot be opened"):
        open_exports([str(inbox / "a.csv")], [make_profile('separator = ";"')])


@pytest.mark.parametrize("name", ["-rf.csv", "line\nbreak.csv", "søknad æøå.csv", "a;b.csv", " .csv"])
def test_in11_strange_names_are_only_names(inbox, name, make_profile, drained):
    write(inbox, name)
    (export,) = open_exports([str(inbox / name)], [make_profile('separator = ";"')])
    assert drained(export).count == 1
    assert "\n" not in export.name


def test_in12_a_read_error_names_the_byte(make_profile):
    """The memory of a process is an ordinary file whose first byte cannot be read."""
    with pytest.raises(ExportError, match="cannot be read beyond byte 0"):
        open_exports([f"/proc/{os.getpid()}/mem"], [make_profile()])


def test_an_unknown_scheme_is_refused():
    with pytest.raises(ExportError, match="cannot be read from ftp://"):
        names("ftp://host/x.csv")


@pytest.mark.parametrize("url", ["az://container/x.csv", "az://"])
def test_azure_without_credentials_is_told_with_what_to_look_at(url, monkeypatch):
    for name in [name for name in os.environ if name.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    with pytest.raises(
        ExportError, match=r"cannot be read from its store \(ValueError\)\. Check the URL, the cred"
    ):
        names(url)


def test_a_store_whose_reader_is_not_installed_is_told_with_what_to_install(monkeypatch):
    monkeypatch.setattr(fsspec.core, "url_to_fs", Mock(side_effect=ImportError))
    with pytest.raises(ExportError, match=r"Install meterfeed\[cloud\]"):
        names("az://container/x.csv")


def test_no_argument_is_refused():
    with pytest.raises(ExportError, match="No export is given"):
        names()


@pytest.mark.parametrize(
    ("basename", "shown"),
    [
        ("meteringvalues-mp-707057500012345678-2026.csv", "meteringvalues-mp-…5678-2026.csv"),
        ("kunder-20260131.csv", "kunder-…0131.csv"),
        ("kunder-1234567.csv", "kunder-1234567.csv"),
        ("a\nb\x1b[0m.csv", "a?b?[0m.csv"),
    ],
)
def test_names_are_shown_without_ids(basename, shown):
    assert display_name(basename) == shown


# ------------------------------------------------------------------ IN1: a file that changes
def opened(path, make_profile, content=CONTENT):
    path.write_bytes(content)
    (export,) = open_exports([str(path)], [make_profile('separator = ";"')])
    return export


def test_in1_a_file_written_to_before_it_is_read_is_refused(tmp_path, make_profile, drained):
    export = opened(tmp_path / "a.csv", make_profile)
    with (tmp_path / "a.csv").open("ab") as file:
        file.write(b"4;5;6\n")
    with pytest.raises(ExportError, match="changed while it was read"):
        drained(export)


def test_in1_a_file_written_to_while_it_is_read_is_refused(tmp_path, make_profile):
    export = opened(tmp_path / "a.csv", make_profile, CONTENT + b"1;2;3\n" * 1_000_000)
    batches = export.batches()
    next(batches)
    with (tmp_path / "a.csv").open("r+b") as file:
        file.seek(100)
        file.write(b"9")
    with pytest.raises(ExportError, match="changed while it was read"):
        list(batches)


def test_in1_a_file_replaced_while_it_is_read_is_refused(tmp_path, make_profile):
    export = opened(tmp_path / "a.csv", make_profile, CONTENT + b"1;2;3\n" * 1_000_000)
    batches = export.batches()
    next(batches)
    (tmp_path / "new.csv").write_bytes(CONTENT)
    (tmp_path / "new.csv").rename(tmp_path / "a.csv")
    with pytest.raises(ExportError, match="changed while it was read"):
        list(batches)


def test_in11_a_file_that_disappears_is_refused(tmp_path, make_profile, drained):
    export = opened(tmp_path / "a.csv", make_profile)
    (tmp_path / "a.csv").unlink()
    with pytest.raises(ExportError):
        drained(export)


def test_a_file_of_the_same_size_and_time_is_told_by_its_content(tmp_path, make_profile, drained):
    path = tmp_path / "a.csv"
    export = opened(path, make_profile)
    before = path.stat()
    path.write_bytes(CONTENT.replace(b"1", b"9"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(ExportError, match="changed while it was read"):
        drained(export)


# ------------------------------------------------------------------ IN9, IN10: manifests and fingerprints
def test_in9_a_manifest_must_agree(tmp_path, make_profile):
    (tmp_path / "a.csv.sha256").write_text("0" * 64 + "  a.csv\n")
    with pytest.raises(ExportError, match="SHA-256 differs"):
        opened(tmp_path / "a.csv", make_profile)
    (tmp_path / "a.csv.sha256").write_text(hashlib.sha256(CONTENT).hexdigest().upper() + " *a.csv\n")
    assert opened(tmp_path / "a.csv", make_profile).byte_count == len(CONTENT)


def test_in10_the_same_content_has_the_same_fingerprint_under_any_name(tmp_path, make_profile):
    one, two = opened(tmp_path / "a.csv", make_profile), opened(tmp_path / "b.csv", make_profile)
    assert one.sha256 == two.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert fingerprint(str(tmp_path / "a.csv")) == (one.sha256, len(CONTENT))


def test_a_fingerprint_is_of_one_file(inbox):
    write(inbox, "a.csv", "b.csv")
    with pytest.raises(ExportError, match="2 files"):
        fingerprint(str(inbox))


def test_every_file_is_checked_before_any_is_read(tmp_path, make_profile):
    (tmp_path / "1.csv").write_bytes(CONTENT)
    (tmp_path / "2.csv").write_bytes(b"x;y\n1;2\n")
    with pytest.raises(ExportError, match=r"2\.csv lacks"):
        open_exports([str(tmp_path)], [make_profile('separator = ";"')])


def test_each_file_has_the_profile_that_fits_its_name(tmp_path, make_profile):
    (tmp_path / "meters-1.csv").write_bytes(CONTENT)
    (tmp_path / "users-1.csv").write_bytes(b"u\n1\n")
    profiles = [
        make_profile('separator = ";"\nmatch = "meters-*"'),
        make_profile('separator = ";"\nmatch = "users-*"', {"user": "u"}),
    ]
    exports = open_exports([str(tmp_path)], profiles)
    assert [(export.index, export.name, sorted(export.columns_present())) for export in exports] == [
        (0, "meters-1.csv", ["meter_point", "user"]),
        (1, "users-1.csv", ["user"]),
    ]
    with pytest.raises(ProfileError, match="No profile fits"):
        open_exports([str(tmp_path)], profiles[:1])


def test_reading_twice_gives_the_same_rows(tmp_path, make_profile, drained):
    export = opened(tmp_path / "a.csv", make_profile)
    assert drained(export).rows == drained(export).rows
