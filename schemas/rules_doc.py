"""Writes `docs/rules.md` out of the registries: `python -m schemas.rules_doc docs/rules.md`.

A test compares the file with what this makes, so it cannot fall behind.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from schemas.meter_points import SCHEMES, MeterPointScheme
from schemas.rules import BETWEEN_ROWS, RULES, UNJUDGED, Rule

_INTRODUCTION = """\
# Rules

Made from the code by `python -m schemas.rules_doc docs/rules.md`; do not edit.

A rule's name is a sentence that is true of a good row. A row that breaks a rule of severity *quarantine* makes no
record and is kept aside with every rule it breaks; a *warning* is counted and the row goes on. The severity may
depend on the environment (`METERFEED_ENVIRONMENT`), the rule does not. A row without a value keeps every rule about
that value, unless "without a value" says otherwise. With `[coordinates] on_violation = "drop"`, a row that breaks a
rule about coordinates goes on without them, with a warning. Nothing is ever repaired: what a profile may undo is the
closed list of `[meter_point] normalise`.
"""

_GROUPS = (
    ("Customers", ("user",)),
    ("Locations", ("location", "key:*", "location_type", "location_type_raw")),
    ("Meter points", ("meter_point",)),
    ("Coordinates", ("latitude", "longitude", "latitude_raw", "longitude_raw")),
    ("Resources", ("resource", "resource_type", "resource_type_raw")),
)
"""Chapters and the columns whose rules they hold."""


def rules_page() -> str:
    """The whole page, as Markdown."""
    return "\n".join([_INTRODUCTION, *_contents(), *_chapters(), *_between_rows(), *_schemes()]) + "\n"


def _contents() -> Iterator[str]:
    yield "| rule | sandbox | production |"
    yield "| --- | --- | --- |"
    for rule in RULES:
        yield f"| [`{rule.name}`](#{rule.name}) | {_severities(rule, 'sandbox')} | {_severities(rule, 'production')} |"
    yield ""


def _severities(rule: Rule, environment: str) -> str:
    """The severity, with that of schemes that differ from it."""
    usual: str = getattr(rule, environment)
    others: dict[str, list[str]] = {}
    for scheme in SCHEMES.values():
        own = _own_severity(rule, scheme, environment)
        if own not in (None, usual):
            others.setdefault(str(own), []).append(scheme.name)
    return "; ".join([usual, *(f"{severity} for {', '.join(names)}" for severity, names in others.items())])


def _own_severity(rule: Rule, scheme: MeterPointScheme, environment: str) -> str | None:
    if rule.name == "meter_point_id_has_valid_check_digit" and scheme.check_digit:
        return str(getattr(scheme.check_digit, environment))
    if rule.name == "meter_point_id_has_prefix_of_its_scheme" and scheme.prefix:
        return scheme.prefix.severity
    return None


def _chapters() -> Iterator[str]:
    for title, columns in _GROUPS:
        yield f"## {title}\n"
        for rule in RULES:
            if rule.columns[0] in columns:
                yield from _entry(rule)


def _entry(rule: Rule) -> Iterator[str]:
    yield f"### {rule.name}\n"
    yield f"{rule.sentence}\n"
    looks_at = ", ".join(f"`{column.removesuffix('_raw')}`" for column in dict.fromkeys(rule.columns))
    yield f"- *looks at*: {looks_at}"
    yield f"- *severity*: sandbox {_severities(rule, 'sandbox')}; production {_severities(rule, 'production')}"
    if rule.missing == "broken":
        yield "- *without a value*: broken"
    yield f"- *cure*: {rule.cure}"
    yield f"- *source*: {rule.source}\n"


def _between_rows() -> Iterator[str]:
    yield "## Between rows\n"
    yield "Decided when all rows are known. Every row in conflict is named and quarantined, whichever file came first;"
    yield 'with `"keep-first"` under a key of `[conflicts]` named here, the first claim of the run stands.\n'
    yield "| rule | severity | says | cure | key |"
    yield "| --- | --- | --- | --- | --- |"
    for rule in BETWEEN_ROWS:
        key = f"`{rule.setting}`" if rule.setting else ""
        yield f"| `{rule.name}` | {rule.severity} | {rule.sentence} | {rule.cure} | {key} |"
    yield ""
    yield f"`{UNJUDGED}` is broken by a row on which a rule itself fails. It should never be seen; please report it.\n"


def _schemes() -> Iterator[str]:
    yield "## Schemes of meter point ids\n"
    yield "An id marked \\* is printed in somebody's documents; the others are made here to satisfy the check. One in"
    yield "three well-formed Norwegian ids is somebody's home: do not send made-up ones to a live system.\n"
    yield "| scheme | called | form | begins with | check digit | examples | source |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for scheme in SCHEMES.values():
        begins = " or ".join(scheme.prefix.beginnings) if scheme.prefix else ""
        check = scheme.check_digit.sentence if scheme.check_digit else "none"
        shown = _examples(scheme)
        yield (
            f"| `{scheme.name}` | {scheme.called} | {scheme.form.sentence} | {begins} | {check} | {shown} | "
            f"{scheme.source} |"
        )


def _examples(scheme: MeterPointScheme) -> str:
    marked: Iterable[str] = [f"{example}\\*" for example in scheme.published]
    return ", ".join([*marked, *scheme.computed])


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(rules_page(), encoding="utf-8")
