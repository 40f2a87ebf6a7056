"""The schedules file: which flow runs when, with which paths and switches. Read without Prefect.

Holds paths, globs, names and switches only: Prefect stores parameters in clear text.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from schemas.errors import SettingsError
from schemas.masking import printable

TIMEZONE: Final = "Europe/Oslo"
ENTRYPOINTS: Final = {
    "sync": "flows.sync_flow.sync",
    "backfill": "flows.backfill_flow.backfill",
    "quality": "flows.quality_flow.quality",
    "reconcile": "flows.reconcile_flow.reconcile",
    "purge": "flows.purge_flow.purge",
    "work": "flows.work_flow.work",
}
"""The flows that can be scheduled, and where they are."""

TAKES: Final = {
    "sync": {"profiles", "exports", "inbox", "environment", "approval_hours", "account"},
    "backfill": {"profiles", "exports", "environment", "account"},
    "quality": {"profiles", "exports", "environment"},
    "reconcile": {"users", "profiles", "environment", "account"},
    "purge": {"days", "environment", "account"},
    "work": {"wait", "environment", "account"},
}
"""The parameters a schedule may set for each flow."""

NEEDS: Final = {"sync": {"profiles"}, "backfill": {"profiles", "exports"}, "quality": {"profiles", "exports"}}
_OWN: Final = {"flow", "cron", "timezone", "paused", "tags"}
_CURE: Final = "data/schedules.example.toml shows how a schedule is written."


@dataclass(frozen=True, slots=True)
class Schedule:
    """One line of the timetable.

    Attributes:
        name: of the deployment, and the slug of its schedule.
        flow: a key of `ENTRYPOINTS`.
        cron: five fields, in local time of `timezone`.
        timezone: IANA name; the hour of a night in which clocks change is the zone's business.
        parameters: of the flow.
        tags: shown in Prefect.
        paused: registered, but not run.
    """

    name: str
    flow: str
    cron: str
    timezone: str
    parameters: Mapping[str, Any]
    tags: tuple[str, ...] = ()
    paused: bool = False


def load_schedules(path: Path) -> list[Schedule]:
    """Read a schedules file.

    Raises:
        SettingsError: naming the schedule and the key that is wrong.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"The schedules file cannot be read: {error.strerror}.", cure=_CURE) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"The schedules file is not TOML: {printable(str(error))}.", cure=_CURE) from None
    _only(document, {"timezone", "environment", "schedule"}, "at the top of the schedules file")
    entries = document.get("schedule", {})
    if not isinstance(entries, dict) or not entries:
        raise SettingsError("The schedules file holds no [schedule.NAME].", cure=_CURE)
    shared: dict[str, Any] = {
        name: document[name] for name in ("timezone", "environment") if name in document
    }
    return [_schedule(name, entry, shared) for name, entry in entries.items()]


def _schedule(name: str, entry: Any, shared: Mapping[str, Any]) -> Schedule:
    place = f"in [schedule.{printable(name)[:60]}]"
    if not isinstance(entry, dict):
        raise SettingsError(f"A schedule is a table, {place}.", cure=_CURE)
    flow = entry.get("flow")
    if flow not in ENTRYPOINTS:
        raise SettingsError(f"`flow` is one of {', '.join(ENTRYPOINTS)}, {place}.", cure=_CURE)
    _only(entry, _OWN | TAKES[flow], place)
    asked = {**({"environment": shared["environment"]} if "environment" in shared else {}), **entry}
    parameters = {key: value for key, value in asked.items() if key in TAKES[flow]}
    for key in sorted(NEEDS.get(flow, set()) - set(parameters)):
        raise SettingsError(f"`{key}` is missing {place}.", cure=_CURE)
    if flow == "sync" and ("exports" in parameters) == ("inbox" in parameters):
        raise SettingsError(f"Give either `exports` or `inbox` {place}.", cure=_CURE)
    _checked_types(parameters, place)
    return Schedule(
        name=name,
        flow=flow,
        cron=_cron(entry.get("cron"), place),
        timezone=_timezone(entry.get("timezone", shared.get("timezone", TIMEZONE)), place),
        parameters=parameters,
        tags=("meterfeed", flow, *_texts(entry.get("tags", []), "tags", place)),
        paused=bool(entry.get("paused", False)),
    )


def _only(entry: Mapping[str, Any], known: set[str], place: str) -> None:
    for key in entry:
        if key not in known:
            near = difflib.get_close_matches(key, sorted(known), n=1)
            hint = f" Was `{near[0]}` meant?" if near else ""
            raise SettingsError(f"`{printable(key)[:60]}` is not known {place}.{hint}", cure=_CURE)


_LISTS: Final = ("profiles", "exports")
_TEXTS: Final = ("inbox", "environment", "account", "users")
_NUMBERS: Final = ("approval_hours", "days")


def _checked_types(parameters: Mapping[str, Any], place: str) -> None:
    for key, value in parameters.items():
        if key in _LISTS and not _texts(value, key, place):
            raise SettingsError(f"`{key}` is empty {place}.", cure=_CURE)
        if key in _TEXTS and not isinstance(value, str):
            raise SettingsError(f"`{key}` is a text {place}.", cure=_CURE)
        if key in _NUMBERS and (isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0):
            raise SettingsError(f"`{key}` is a number, 0 or more, {place}.", cure=_CURE)
    if parameters.get("environment", "sandbox") not in ("sandbox", "production"):
        raise SettingsError(f"`environment` is sandbox or production {place}.", cure=_CURE)


def _texts(value: Any, key: str, place: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise SettingsError(f"`{key}` is a list of texts {place}.", cure=_CURE)
    return value


def _cron(value: Any, place: str) -> str:
    if not isinstance(value, str) or len(value.split()) != 5:  # a sixth would be seconds
        raise SettingsError(f'`cron` has five fields, such as "30 2 * * *", {place}.', cure=_CURE)
    return " ".join(value.split())


def _timezone(value: Any, place: str) -> str:
    try:
        return ZoneInfo(value).key
    except (ValueError, OSError, TypeError, KeyError):  # not found is a KeyError
        raise SettingsError(f"`timezone` is an IANA name such as {TIMEZONE} {place}.", cure=_CURE) from None
