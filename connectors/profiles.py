"""Profiles on disk: found by path or by name under `data/profiles`, chosen by `[file] match`."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from connectors.artifacts import slug
from schemas.errors import ProfileError
from schemas.profile import Profile

PROFILES = Path(__file__).resolve().parent.parent / "data" / "profiles"
"""Found from the package, so that the working directory does not matter."""

CORRECTION = "correction"
"""How the names of correction files begin (`connectors/quarantine.py`)."""

LARGEST_PROFILE = 1_000_000
"""Bytes; a larger file is no profile but an export given in the wrong place."""


def load_profile(given: str, *, folder: Path = PROFILES) -> Profile:
    """The profile at the path `given`, or named so under `folder`.

    Raises:
        ProfileError: there is none, it cannot be read, or something in it is wrong.
    """
    path = _find(given, folder)
    try:
        if path.stat().st_size > LARGEST_PROFILE:
            raise ProfileError(
                f"{path.name} is too large to be a profile.", cure="Give the profile, not the export."
            )
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ProfileError(f"{path.name} is not UTF-8 text.", cure="Save the profile as UTF-8.") from None
    except OSError as error:
        raise ProfileError(
            f"{path.name} cannot be read: {error.strerror}.", cure="Check its rights."
        ) from None
    return Profile.from_toml(text, path.name)


def load_profiles(given: Sequence[str], *, folder: Path = PROFILES) -> tuple[Profile, ...]:
    """The profiles in the order given; two may not share a name."""
    if not given:
        raise ProfileError(
            "No profile is given.", cure="Add --profile with a path or one of: " + _names(folder)
        )
    profiles = tuple(load_profile(entry, folder=folder) for entry in given)
    names = [profile.name for profile in profiles]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ProfileError(f"Two profiles are named {', '.join(twice)}.", cure="Give each its own name.")
    return profiles


def profile_for(basename: str, profiles: Sequence[Profile]) -> Profile:
    """The first profile whose `[file] match` fits the file name; one without `match` fits every file.

    A correction file of ours carries our name, not theirs: it belongs to the profile it names. Where it names none, it
    belongs to the only one there is, or to one whose `match` speaks of such names.

    Raises:
        ProfileError: none fits, or there are several that a correction may belong to.
    """
    if basename.startswith(CORRECTION) and profiles:
        return _profile_of_correction(basename, profiles)
    for profile in profiles:
        if profile.file.match is None or fnmatchcase(basename, profile.file.match):
            return profile
    wanted = ", ".join(f'"{profile.file.match}" ({profile.name})' for profile in profiles)
    raise ProfileError(
        f"No profile fits an export of that name; [file] match wants {wanted}.",
        cure="Rename the export, or mend or add a profile.",
    )


def _profile_of_correction(basename: str, profiles: Sequence[Profile]) -> Profile:
    named = [profile for profile in profiles if f"-{slug(profile.name)}-" in basename]
    if named:
        return max(named, key=lambda profile: len(slug(profile.name)))
    if len(profiles) == 1:
        return profiles[0]
    for profile in profiles:
        match = profile.file.match or ""
        if match.startswith(CORRECTION) and fnmatchcase(basename, match):
            return profile
    raise ProfileError(
        "The name of a correction does not say which of the profiles it belongs to.",
        cure=f"Give that profile alone, or name the file like {CORRECTION}-{slug(profiles[0].name)}-1.csv.",
    )


def _find(given: str, folder: Path) -> Path:
    path = Path(given)
    if path.is_file():
        return path
    if path.name == given and path.suffix in ("", ".toml"):
        named = folder / f"{path.stem if path.suffix == '.toml' else given}.toml"
        if named.is_file():
            return named
    what = "is a folder" if path.is_dir() else "is neither a file nor the name of a profile"
    raise ProfileError(f"{given} {what}.", cure=f"Give a path or one of: {_names(folder)}")


def _names(folder: Path) -> str:
    return ", ".join(sorted(path.stem for path in folder.glob("*.toml"))) or "(there are none yet)"
