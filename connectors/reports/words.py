"""Figures and codes as people read them. Every number of a page is written by one of these."""

from __future__ import annotations

from schemas.outcomes import Exit, Kind, Outcome, RowClass

THIN = "\u202f"
"""Narrow no-break space between thousands, as the Nordic countries and the SI write it."""
NOT_KNOWN = "–"

ROW_LABELS = {
    RowClass.MAPPED: "mapped to records",
    RowClass.DUPLICATE: "duplicates",
    RowClass.FILTERED: "filtered",
    RowClass.QUARANTINED: "in quarantine",
    RowClass.UNREADABLE: "unreadable",
}
ROW_WORDS = {
    RowClass.MAPPED: "mapped rows",
    RowClass.DUPLICATE: "duplicate rows",
    RowClass.FILTERED: "filtered rows",
    RowClass.QUARANTINED: "rows in quarantine",
    RowClass.UNREADABLE: "unreadable rows",
}
GUARD_LABELS = {
    "empty": "Rows left after filtering",
    "quarantined": "Rows quarantined or unreadable",
    "check_digit": "Meter point ids with a wrong check digit",
    "outside_country": "Rows outside the country",
    "rejected": "Records the API rejected",
    "rejected_alike": "Rejections alike in a row",
    "shrank": "Fewer rows than in the last run",
    "grew": "More rows than in the last run",
    "creates": "Records to create against the largest earlier run",
    "updates": "Known records that change at once",
    "meter_points_lost": "Meter points that leave their location and go to no other",
    "deletes": "Records to delete",
    "removal": "Records to remove, with a person's approval",
    "vanished": "Records that vanished",
}
WAITS = {
    "seen_once": "missing once so far",
    "has_other_records": "with something that stays",
    "hands_over": "handing over a meter point first",
    "unreadable_rows": "perhaps in a row that names nobody",
}
"""Why records that vanished are not removed yet (`pipeline/vanishing.py`)."""
KIND_LABELS = {
    Kind.USER: "users",
    Kind.LOCATION: "locations",
    Kind.RESOURCE: "resources",
    Kind.VEHICLE: "vehicles",
}
OUTCOME_LABELS = {
    Outcome.CREATED: "created",
    Outcome.UPDATED: "updated",
    Outcome.UNCHANGED: "unchanged",
    Outcome.REJECTED: "rejected",
    Outcome.BLOCKED: "blocked",
    Outcome.IN_DOUBT: "in doubt",
    Outcome.NOT_SENT: "not sent",
}
OUTCOME_MEANING = {
    Outcome.REJECTED: "The API refused them, alone and after reading back.",
    Outcome.BLOCKED: "They were never sent, because what they wait for is not in place or not done.",
    Outcome.IN_DOUBT: "They were sent and no answer came: they may or may not be there.",
    Outcome.NOT_SENT: "The run stopped before their turn.",
}
OUTCOME_CURE = {
    Outcome.REJECTED: "Mend the row named here in the export, and load it again.",
    Outcome.BLOCKED: "Settle their user, their location or the former holder of their meter point first; "
    "`meterfeed resume` then sends them by itself.",
    Outcome.IN_DOUBT: "Run `meterfeed resume`: it reads back before it sends anything again.",
    Outcome.NOT_SENT: "Run `meterfeed resume` to send them.",
}
REMOVAL_LABELS = {**OUTCOME_LABELS, Outcome.REJECTED: "refused"}
"""The same of what was to be removed because it had vanished."""
REMOVAL_MEANING = {
    Outcome.REJECTED: "The API refused to remove them, or something that stays hangs on them: they are still there.",
    Outcome.BLOCKED: "What hangs on them is not removed yet: they are still there.",
    Outcome.IN_DOUBT: "Their removal was sent and no answer came: they may or may not be there.",
    Outcome.NOT_SENT: OUTCOME_MEANING[Outcome.NOT_SENT],
}
REMOVAL_CURE = {
    Outcome.REJECTED: "Each is a line of `rejected.csv`, with the reason. The next plan with `--delete-vanished` "
    "lists them again.",
    Outcome.BLOCKED: "Settle that first; the next plan with `--delete-vanished` lists them again.",
    Outcome.IN_DOUBT: OUTCOME_CURE[Outcome.IN_DOUBT],
    Outcome.NOT_SENT: OUTCOME_CURE[Outcome.NOT_SENT],
}
CORRECT_ROWS = "mend the rows in `correction.csv` and load that file with the same profile"
ROWS_GONE = "are not kept here any more (`meterfeed purge` removes them): load the export again"
REASON_TEXTS = {
    "release_in_doubt": "Whether the former holder let go of its meter point is not known",
    "release_planned": "The former holder has not let go of its meter point yet",
    "release_blocked": "The former holder of its meter point waits itself",
    "release_rejected": "The API refused to take its meter point from the former holder",
    "removed_not_remade": "The old one was removed to be changed, and the API refused the new one: it holds neither",
}
"""Reasons whose name says too little by itself."""
STATUS = {
    Exit.OK: "good",
    Exit.DONE_WITH_REJECTS: "attention",
    Exit.IN_DOUBT: "doubt",
    Exit.UNAVAILABLE: "doubt",
    Exit.INTERRUPTED: "doubt",
    Exit.TERMINATED: "doubt",
}
STATUS_WORD = {"good": "Done", "attention": "Look at this", "doubt": "Not finished", "stop": "Stopped"}
EXIT_WORD = {Exit.IN_DOUBT: "Not settled"}
"""Where the word for the class of a verdict would not be quite right."""
STATUS_MARK = {"good": "✓", "attention": "!", "doubt": "?", "stop": "✕"}


def status(exit_code: int) -> str:
    """The class of a verdict: good, attention, doubt or stop."""
    known = exit_code in set(Exit)
    return STATUS.get(Exit(exit_code), "stop") if known else "stop"


def status_word(exit_code: int) -> str:
    """The verdict in a word or two."""
    return (
        EXIT_WORD.get(Exit(exit_code)) or STATUS_WORD[status(exit_code)]
        if exit_code in set(Exit)
        else "Stopped"
    )


def number(value: float | None) -> str:
    """A count with thin spaces between thousands; a dash for what is not known."""
    if value is None:
        return NOT_KNOWN
    return f"{value:,.0f}".replace(",", THIN)


def share(part: float | None, whole: float | None) -> str:
    """A share in per cent; never 0 % for something, never 100 % for less than all."""
    if part is None or not whole:
        return NOT_KNOWN
    return per_cent(part / whole)


def per_cent(ratio: float | None) -> str:
    """A ratio in per cent, with as many digits as tell it from nothing and from all."""
    if ratio is None:
        return NOT_KNOWN
    value = 100 * ratio
    if 0 < value < 0.05:
        return f"<{THIN}0.1{THIN}%"
    if 99.95 <= value < 100:
        return f">{THIN}99.9{THIN}%"
    return f"{value:.1f}".removesuffix(".0") + f"{THIN}%"


def seconds(value: float | None) -> str:
    """A duration: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`."""
    if value is None:
        return NOT_KNOWN
    if value < 10:
        return f"{value:.1f}{THIN}s" if value >= 0.05 or value == 0 else f"<{THIN}0.1{THIN}s"
    whole = round(value)
    if whole < 60:
        return f"{whole}{THIN}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}{THIN}min {rest}{THIN}s" if rest else f"{minutes}{THIN}min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}{THIN}h {minutes}{THIN}min" if minutes else f"{hours}{THIN}h"


def byte_size(value: int | None) -> str:
    """A size in bytes, kB, MB or GB (powers of ten)."""
    if value is None:
        return NOT_KNOWN
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= size:
            return f"{value / size:.1f}{THIN}{unit}"
    return f"{value}{THIN}bytes" if value != 1 else f"1{THIN}byte"


def sentence(name: str) -> str:
    """A rule or code as a sentence: `meter_point_id_has_18_digits` is "Meter point id has 18 digits"."""
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def reason(code: str) -> str:
    """Why a record is not in place, as a sentence."""
    return REASON_TEXTS.get(code) or sentence(code)


def moment(text: str | None) -> str:
    """An ISO 8601 instant in UTC as `2026-03-01 04:05 UTC`; other text as it is."""
    if not text:
        return NOT_KNOWN
    if len(text) >= 16 and text[10] == "T":
        return f"{text[:10]} {text[11:16]} UTC"
    return text


def change(before: float | None, after: float | None) -> str:
    """The difference with its sign, "none", or a dash when either is not known."""
    if before is None or after is None:
        return NOT_KNOWN
    if after == before:
        return "none"
    return f"{'+' if after > before else '−'}{number(abs(after - before))}"
