"""Rules about the texts that become ids: of customers, locations and resources."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import polars as pl

from schemas.meter_points import BLANKS, HIDDEN
from schemas.rules.rule import CONTRACT, Good, Rule, Subject, has_ink, is_vehicle

LONGEST_ID: Final = 128
"""Bytes of an id that go into a URL."""

RESERVED_USERS: Final = ("batch", "eligible", "locations")
"""User ids that are routes of the API: `/users/batch` is not a user."""

PLACEHOLDERS: Final = (
    "-", "--", "?", ".", "null", "none", "nil", "nan", "na", "n/a", "(null)", "undefined", "unknown", "ukjent",
    "okänd", "ukendt", "tuntematon", "unbekannt", "inconnu", "#n/a", "#na", "#ref!", "#value!", "#name?",
    "#num!", "#div/0!", "#null!", "#i/t", "#verdi!", "#navn?", "#saknas!", "#värdefel!", "#værdi!", "#nv",
    "#wert!", "#bezug!", "#puuttuu!", "#arvo!",
)  # fmt: skip
"""Words for "nothing". Different customers under one such word would become one."""

NOTHING: Final = tuple(
    {"NaN": 0}
    | dict.fromkeys(
        spelling
        for word in PLACEHOLDERS
        for spelling in (word, word.upper(), word.title(), word.capitalize())
    )
)
"""The same in the spellings that occur."""

CONTROLS: Final = r"\x00-\x1f\x7f-\x9f\x{2028}\x{2029}"
"""Control characters and line separators, as the inside of a character class."""


def _user_is_present(_subject: Subject) -> pl.Expr:
    return has_ink("user")


def _location_is_present(subject: Subject) -> pl.Expr | None:
    if not subject.place or not subject.defines:
        return None
    return pl.all_horizontal(has_ink(part) for part in subject.place) | is_vehicle(subject)


def _parts_are_plain(subject: Subject) -> pl.Expr | None:
    parts = sorted(name for name in subject.columns if name.startswith("key:"))
    parts += {"metering_location"}.intersection(subject.place)  # the others have rules of their own
    if not parts:
        return None
    return ~pl.any_horizontal(
        pl.col(part).str.contains(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]").fill_null(value=False)
        for part in parts
    )


def _is_plain_key(name: str) -> Good:
    def good(subject: Subject) -> pl.Expr | None:
        if not subject.has(name):
            return None
        column = pl.col(name)
        return ~column.str.contains(rf"^\.{{1,2}}$|[{CONTROLS}]") & (column.str.len_bytes() <= LONGEST_ID)

    return good


def is_safe_in_a_url(name: str, *, of_users: bool) -> pl.Expr:
    """Whether ids in a column of texts can stand as one segment of an address; Boolean."""
    column = pl.col(name)
    safe = ~column.str.contains(rf"^\.{{0,2}}$|[/\\%?#{CONTROLS}]") & (column.str.len_bytes() <= LONGEST_ID)
    return safe & ~column.is_in(list(RESERVED_USERS)) if of_users else safe


def _is_safe_in_a_url(name: str) -> Good:
    def good(subject: Subject) -> pl.Expr | None:
        if not subject.has(name) or not subject.as_is:
            return None
        return is_safe_in_a_url(name, of_users=name == "user")

    return good


def _is_no_placeholder(name: str) -> Good:
    def good(subject: Subject) -> pl.Expr | None:
        return ~pl.col(name).is_in(list(NOTHING)) if subject.has(name) else None

    return good


def _is_no_exponent(name: str) -> Good:
    """No long number has a negative exponent, and `7E-12` is a flat; with decimals (`7,1E-05`) it is none."""

    def good(subject: Subject) -> pl.Expr | None:
        pattern = r"^[0-9](?:[eE]\+|[.,][0-9]+[eE][+-])[0-9]{1,3}$"
        return ~pl.col(name).str.contains(pattern) if subject.has(name) else None

    return good


def _has_plain_edges(name: str) -> Good:
    def good(subject: Subject) -> pl.Expr | None:
        pattern = rf"^[{BLANKS}]|[{BLANKS}]$|[{HIDDEN}\x{{fffd}}]"
        return ~pl.col(name).str.contains(pattern) if subject.has(name) else None

    return good


def _is_in_normal_form(name: str) -> Good:
    def good(subject: Subject) -> pl.Expr | None:
        if not subject.has(name) or subject.profile.identity.unicode != "refuse":
            return None
        return pl.col(name) == pl.col(name).str.normalize("NFC")

    return good


def _id_rules(name: str, called: str) -> Iterator[Rule]:
    """The rules that hold for each of the three texts that become ids."""
    odd = (f"odd_{name}",)
    yield Rule(
        name=f"{name}_is_a_plain_key",
        sentence=f"The {called} holds no control characters or line breaks, is neither `.` nor `..`, and is "
        f"at most {LONGEST_ID} bytes long.",
        columns=(name,),
        cure=f"Export the {called} again from the source system; a text with line breaks is some other column.",
        source="https://www.rfc-editor.org/rfc/rfc3986 (dot segments are taken out of paths)",
        good=_is_plain_key(name),
        screens=odd,
    )
    reserved = (
        f", and is none of {', '.join(f'`{word}`' for word in RESERVED_USERS)}" if name == "user" else ""
    )
    yield Rule(
        name=f"{name}_id_is_safe_in_a_url",
        sentence=f'A {called} that is sent as it is (`ids = "as-is"`) also holds none of `/ \\ % ? #`'
        f"{reserved}: it becomes a part of addresses, where `..` would address somebody else.",
        columns=(name,),
        cure='Use [identity] ids = "hmac" (the default), which makes an id out of any text.',
        source="https://www.rfc-editor.org/rfc/rfc3986; httpx takes dot segments out of paths",
        good=_is_safe_in_a_url(name),
        screens=odd,
    )
    yield Rule(
        name=f"{name}_is_not_a_placeholder",
        sentence=f'The {called} is not a word for "nothing" (`NULL`, `-`, `#N/A`, `ukjent` …), under which '
        "different ones would become one.",
        columns=(name,),
        cure=f"Fill in the {called}, or list the word in [file] nulls.",
        source="https://support.microsoft.com (error values of spreadsheets, in eight languages)",
        good=_is_no_placeholder(name),
        screens=odd,
    )
    yield Rule(
        name=f"{name}_is_not_in_exponent_form",
        sentence=f"The {called} is not a number as spreadsheets show long ones (`7.07E+17`).",
        columns=(name,),
        cure="Export again from the source system with the column as text; the lost digits cannot be restored.",
        source="https://support.microsoft.com/kb/269370",
        good=_is_no_exponent(name),
        screens=odd,
    )
    yield Rule(
        name=f"{name}_has_no_blank_edges_or_hidden_characters",
        sentence=f"The {called} has no blank at either end, no invisible character, and no U+FFFD (which says "
        "that a file was read in the wrong encoding). Two that look alike would be two.",
        columns=(name,),
        cure="Trim the column in the export; check [file] encoding when U+FFFD occurs.",
        source="Unicode 16, categories Zs and Cf",
        good=_has_plain_edges(name),
        screens=odd,
    )
    yield Rule(
        name=f"{name}_is_in_normal_form",
        sentence=f'With `[identity] unicode = "refuse"`, the {called} is in Unicode normal form C: `å` is one '
        "character, not `a` and a ring.",
        columns=(name,),
        cure='Export composed characters, or set [identity] unicode = "NFC".',
        source="https://unicode.org/reports/tr15",
        good=_is_in_normal_form(name),
        screens=odd,
    )


def _odd_text(name: str) -> pl.Expr:
    """Anything but letters, digits and inner dashes, and whatever is a word for nothing or a route of the API."""
    words = "|".join(word for word in (*NOTHING, *RESERVED_USERS) if word.isalpha() and word.isascii())
    column = pl.col(name)
    odd = column.str.contains(rf"[^0-9A-Za-z_-]|^[_-]|[_-]$|^$|^(?:{words})$")
    return odd | (column.str.len_bytes() > LONGEST_ID)


def screens(subject: Subject) -> Iterator[tuple[str, pl.Expr]]:
    """Names and cheap expressions that find every row that can break a rule of this file."""
    for name in ("user", "location", "resource"):
        if subject.has(name):
            found = _odd_text(name)
            yield f"odd_{name}", found if name == "resource" else found.fill_null(value=True)
    if subject.place and not subject.has("location"):
        yield "no_part", pl.any_horizontal(~has_ink(part) for part in subject.place)


USER_RULES: Final = (
    Rule(
        name="user_is_present",
        sentence="The row names its customer, with more than blanks.",
        columns=("user",),
        cure="Fill in the customer number; a row without one belongs to nobody.",
        source=CONTRACT,
        good=_user_is_present,
        missing="broken",
        screens=("odd_user",),
    ),
    *_id_rules("user", "customer number"),
)

LOCATION_RULES: Final = (
    Rule(
        name="location_is_present",
        sentence="The row names its location, where the profile says how: the location column, or every part of "
        "`[identity] location_from`. A vehicle needs none: it belongs to its customer.",
        columns=("location", "key:*"),
        cure="Fill in the column. Where the export names no locations, leave [columns] location out.",
        source=CONTRACT,
        good=_location_is_present,
        missing="broken",
        screens=("odd_location", "no_part"),
    ),
    *_id_rules("location", "location number"),
    Rule(
        name="location_parts_are_plain_text",
        sentence="The columns that together name a location hold no control characters but tabs and line breaks.",
        columns=("key:*",),
        cure="Export the columns again as text.",
        source="The parts of a key are joined with U+001F",
        good=_parts_are_plain,
    ),
)

RESOURCE_ID_RULES: Final = tuple(_id_rules("resource", "resource id"))
