"""Profiles on disk, and which one reads which export."""

import pytest

from connectors.profiles import load_profile, load_profiles, profile_for
from schemas.errors import ProfileError


def write(folder, name, match=None):
    entry = f'match = "{match}"\n' if match else ""
    text = f'name = "{name}"\ncountry = "NO"\n[file]\n{entry}[columns]\nuser = "Kundenr"\n'
    (folder / f"{name}.toml").write_text(text)
    return str(folder / f"{name}.toml")


@pytest.mark.parametrize("given", ["nordkraft", "nordkraft.toml"])
def test_a_profile_is_found_by_its_name(tmp_path, given):
    write(tmp_path, "nordkraft")
    assert load_profile(given, folder=tmp_path).name == "nordkraft"


def test_a_profile_is_found_by_its_path(tmp_path):
    assert load_profile(write(tmp_path, "nordkraft")).name == "nordkraft"


def test_a_profile_saved_with_a_byte_order_mark_is_read(tmp_path):
    path = tmp_path / "bom.toml"
    path.write_bytes(b"\xef\xbb\xbf" + b'name = "bom"\ncountry = "NO"\n[columns]\nuser = "K"\n')
    assert load_profile(str(path)).name == "bom"


def test_a_missing_profile_is_told_which_there_are(tmp_path):
    write(tmp_path, "nordkraft")
    with pytest.raises(ProfileError, match="nordkraft"):
        load_profile("nordkaft", folder=tmp_path)


@pytest.mark.parametrize(
    ("content", "told"), [(b"\xff\xfe\xd8", "not UTF-8"), (b"#" * 1_000_001, "too large")]
)
def test_what_is_no_profile_is_refused(tmp_path, content, told):
    path = tmp_path / "x.toml"
    path.write_bytes(content)
    with pytest.raises(ProfileError, match=told):
        load_profile(str(path))


def test_no_profile_at_all_is_a_usage_error(tmp_path):
    with pytest.raises(ProfileError, match="--profile"):
        load_profiles([], folder=tmp_path)


def test_two_profiles_of_one_name_are_refused(tmp_path):
    path = write(tmp_path, "a")
    with pytest.raises(ProfileError, match="Two profiles"):
        load_profiles([path, path])


def test_the_first_profile_that_fits_the_name_reads_the_export(tmp_path):
    paths = [write(tmp_path, "a", "kunder-*.csv*"), write(tmp_path, "b", "anlegg-*"), write(tmp_path, "c")]
    profiles = load_profiles(paths)
    chosen = [profile_for(name, profiles).name for name in ("kunder-1.csv.gz", "anlegg-2.csv", "annet.csv")]
    assert chosen == ["a", "b", "c"]


def test_a_correction_without_a_profiles_name_belongs_to_the_only_one_or_to_none(tmp_path):
    no, se, own = (
        load_profile(write(tmp_path, *entry))
        for entry in (("no",), ("se", "*.csv"), ("own", "correction-ours-*"))
    )
    assert "se" == profile_for("correction-2026-11-23.csv", [se]).name
    assert "se" == profile_for("correction-se-1.csv", [no, se]).name
    assert "own" == profile_for("correction-ours-1.csv", [no, se, own]).name
    with pytest.raises(ProfileError, match="does not say which of the profiles"):
        profile_for("correction-2026-11-23.csv", [no, se, own])


def test_an_export_no_profile_fits_is_refused_without_its_name(tmp_path):
    profiles = load_profiles([write(tmp_path, "a", "kunder-*.csv")])
    with pytest.raises(ProfileError) as caught:
        profile_for("meter-707057500012345678.csv", profiles)
    assert "707057500012345678" not in str(caught.value)
