"""CS: what is wrong inside a CSV. Encodings, line ends, quotes, widths, headers, footers, the last row."""

from __future__ import annotations

from collections.abc import Iterator

from schemas.unreadable import Unreadable
from tests.corpus.case import HEADER, Case, cell, cells, csv_of, numbered, one_bad, row, rows, text_of

NAMES = HEADER.split(";")
ANY = frozenset[str]()
"""Which rules such a row breaks is said in `value_cases.py`; here any may be."""


def _encodings() -> Iterator[Case]:
    lines = rows(5)
    text = text_of(lines)
    bom = b"\xef\xbb\xbf"
    yield Case(name="UTF-8 with a byte order mark", fault="CS1", content=bom + text.encode(), rows=5)
    quoted = text.replace("Kundenr", '"Kundenr"', 1)
    yield Case(
        name="byte order mark before a quoted header", fault="CS1", content=bom + quoted.encode(), rows=5
    )
    yield Case(name="two byte order marks", fault="CS1", content=bom + bom + text.encode(), refused=())
    twice = csv_of(lines[:2]) + bom + row(9).encode() + b"\n"
    yield Case(name="byte order mark before a later row", fault="CS1", content=twice, rows=3)
    for codec in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"):
        yield Case(name=f"{codec} declared as UTF-8", fault="CS2", content=text.encode(codec), refused=())
    for codec in ("utf-16", "utf-32"):
        declared = {"file": {"encoding": codec}}
        yield Case(
            name=f"{codec} declared", fault="CS2", content=text.encode(codec), profile=declared, rows=5
        )
    for codec in ("utf-16-le", "utf-16-be"):
        declared = {"file": {"encoding": codec}}
        yield Case(
            name=f"{codec} declared", fault="CS2", content=text.encode(codec), profile=declared, rows=5
        )
    declared = {"file": {"encoding": "utf-16"}}
    yield Case(
        name="UTF-8 declared as UTF-16", fault="CS2", content=text.encode(), profile=declared, refused=()
    )
    yield Case(
        name="UTF-16 cut inside a character",
        fault="CS2",
        content=text.encode("utf-16")[:-1],
        profile=declared,
        refused=(),
    )
    lone = text_of([row(1), row(2, Merknad="X"), row(3)]).encode("utf-16-le").replace(b"X\0", b"\x00\xd8")
    yield Case(
        name="lone surrogate in UTF-16",
        fault="CS2",
        content=lone,
        profile={"file": {"encoding": "utf-16-le"}},
        rows=3,
        unreadable={3: Unreadable.UNDECODABLE},
        may_be_refused=True,
    )
    for codec in ("cp1252", "latin-1", "iso8859-15", "cp865", "mac-roman"):
        declared = {"file": {"encoding": codec}}
        yield Case(
            name=f"{codec} declared", fault="CS3", content=text.encode(codec), profile=declared, rows=5
        )
    yield Case(name="cp1252 read as UTF-8", fault="CS3", content=text.encode("cp1252"), refused=())
    declared = {"file": {"encoding": "cp1252"}}
    yield Case(name="UTF-8 read as cp1252", fault="CS3", content=text.encode(), profile=declared, refused=())
    for name, bad in {
        "a Latin-1 letter": b"\xd8ystein",
        "an overlong slash": b"\xc0\xaf",
        "a coded surrogate": b"\xed\xa0\x80",
        "a lone continuation": b"\x80",
        "a cut character": b"\xc3",
        "an unused byte": b"\xff",
        "a character beyond Unicode": b"\xf4\x90\x80\x80",
        "a five byte character": b"\xf8\x88\x80\x80\x80",
    }.items():
        for header in ("Merknad", "Kundenr", "MålepunktID"):
            content = csv_of([*rows(2), row(500, **{header: "@@"}), *rows(2, first=9)]).replace(b"@@", bad)
            yield one_bad(
                f"{name} in {header}", "CS3", "", content=content, unreadable=Unreadable.UNDECODABLE
            )
    mixed = b"".join(
        line.encode("cp1252" if line.startswith("K00000003") else "utf-8") + b"\n"
        for line in [HEADER, *lines]
    )
    yield Case(
        name="one line in another encoding",
        fault="CS3",
        content=mixed,
        rows=5,
        unreadable={4: Unreadable.UNDECODABLE},
    )
    undefined = csv_of([*rows(2), row(3, Merknad="@@")], encoding="cp1252").replace(b"@@", b"\x81")
    yield Case(
        name="a byte cp1252 does not define",
        fault="CS3",
        content=undefined,
        profile=declared,
        rows=3,
        unreadable={4: Unreadable.UNDECODABLE},
    )
    header = csv_of(rows(2)).replace("Å".encode(), b"\xc5").replace("å".encode(), b"\xe5", 1)
    yield Case(name="a bad byte in the header", fault="CS3", content=header, refused=())
    lossy = csv_of(rows(2)).replace("å".encode(), "\ufffd".encode(), 1)
    yield Case(name="a replacement character in the header", fault="CS3", content=lossy, refused=())


def _controls() -> Iterator[Case]:
    for header in NAMES:
        changed = cells(500)[header] + "\0"
        yield cell(f"NUL in {header}", "CS4", header, changed, unreadable=Unreadable.NUL_BYTE)
    yield one_bad("a row of NULs", "CS4", "\0" * 40, unreadable=Unreadable.NUL_BYTE)
    tail = csv_of(rows(3)) + bytes(16)
    yield Case(
        name="NULs behind the last row",
        fault="CS4",
        content=tail,
        rows=4,
        unreadable={5: None},
        may_be_refused=True,
    )
    for header in ("Kundenr", "Anlegg", "MålepunktID"):
        yield cell(f"a tab in {header}", "CS4", header, cells(500)[header] + "\tx", quarantined=ANY)
        yield cell(f"a bell in {header}", "CS4", header, cells(500)[header] + "\a", quarantined=ANY)
        yield cell(f"a C1 control in {header}", "CS4", header, cells(500)[header] + "\x85", quarantined=ANY)


def _line_ends() -> Iterator[Case]:
    lines = rows(5)
    yield Case(name="CRLF", fault="CS5", content=csv_of(lines, end="\r\n"), rows=5)
    yield Case(name="CR only", fault="CS5", content=csv_of(lines, end="\r"), refused=())
    declared = {"file": {"newline": "\r"}}
    yield Case(
        name="CR only, declared", fault="CS5", content=csv_of(lines, end="\r"), profile=declared, rows=5
    )
    mixed = text_of(lines[:2]) + text_of(lines[2:4], header=None, end="\r\n") + lines[4] + "\n"
    yield Case(name="LF and CRLF by turns", fault="CS5", content=mixed.encode(), rows=5)
    strict = {"file": {"newline": "\n"}}
    yield Case(
        name="CRLF where LF is declared",
        fault="CS5",
        content=mixed.encode(),
        profile=strict,
        rows=5,
        unreadable={4: None, 5: None},
    )
    strict = {"file": {"newline": "\r\n"}}
    content = text_of(lines[:2], end="\r\n") + lines[2] + "\n" + text_of(lines[3:], header=None, end="\r\n")
    yield Case(
        name="LF where CRLF is declared",
        fault="CS5",
        content=content.encode(),
        profile=strict,
        rows=5,
        loose={4: frozenset({"unreadable"}), 5: frozenset({"unreadable", "valid"})},
    )
    inside = text_of([*lines[:2], "\r".join(lines[2:4]), lines[4]])
    yield Case(name="one CR among LF", fault="CS5", content=inside.encode(), rows=4, unreadable={4: None})
    for header in ("Kundenr", "Merknad", "MålepunktID"):
        broken = cells(500)[header] + "\rx"
        yield cell(
            f"a CR inside {header}", "CS5", header, broken, unreadable=Unreadable.STRAY_CARRIAGE_RETURN
        )
    yield one_bad(
        "two CR before a line end", "CS5", row(500) + "\r\r", loose=frozenset({"unreadable", "valid"})
    )
    end = csv_of(lines) + b"\x1a"
    yield Case(
        name="^Z without a line end",
        fault="CS5",
        content=end,
        rows=5,
        may_be_refused=True,
    )
    yield Case(
        name="^Z on a line of its own",
        fault="CS5",
        content=end + b"\n",
        rows=6,
        unreadable={7: Unreadable.CONTROL_Z},
    )
    footer = {"file": {"footer_lines": 1}}
    yield Case(name="^Z as a declared footer", fault="CS5", content=end + b"\n", profile=footer, rows=5)
    yield cell("^Z inside a row", "CS5", "Merknad", "a\x1ab", unreadable=Unreadable.CONTROL_Z)
    for sign, name in (
        ("\u2028", "line separator"),
        ("\x0b", "vertical tab"),
        ("\x0c", "form feed"),
        ("\x1e", "record separator"),
    ):
        yield cell(f"a {name} in a remark ends no line", "CS5", "Merknad", f"a{sign}b")


def _breaks_in_quotes() -> Iterator[Case]:
    for name, end in (("LF", "\n"), ("CRLF", "\r\n")):
        legal = row(500, Adresse=f'"Påfunnveien 5{end}inngang 2"')
        yield Case(
            name=f"{name} inside a quoted address",
            fault="CS6",
            content=csv_of([row(1), legal, row(3)]),
            rows=3,
        )
        for header in ("Merknad", "Kundenr", "MålepunktID", "Breddegrad"):
            value = cells(500)[header]
            broken = row(500, **{header: f'"{value}{end}x"'})
            yield Case(
                name=f"{name} inside {header}",
                fault="CS6",
                content=csv_of([row(1), broken, row(3)]),
                rows=4,
                unreadable={3: Unreadable.LINE_BREAK_IN_QUOTES},
                heights={3: 2},
            )
    many = row(500, Adresse='"' + "\n".join("abcdef") + '"')
    yield Case(name="six lines of address", fault="CS6", content=csv_of([row(1), many, row(3)]), rows=3)
    bad = row(500, Adresse='"a\nb"', Breddegrad="x")
    yield Case(
        name="a broken row over two lines",
        fault="CS6",
        content=csv_of([row(1), bad, row(3)]),
        rows=3,
        quarantined={3: ANY},
    )
    after = [row(1), many, row(3, MålepunktID="1")]
    yield Case(
        name="the line after a long address is named",
        fault="CS6",
        content=csv_of(after),
        rows=3,
        quarantined={9: ANY},
    )
    short = row(500, Adresse='"a\nb"').rpartition(";")[0]
    yield Case(
        name="a short row over two lines",
        fault="CS6",
        content=csv_of([row(1), short, row(3)]),
        rows=4,
        unreadable={3: None},
        heights={3: 2},
    )
    ids = {"file": {"multiline": ["MålepunktID", "Kundenr"]}}
    for header in ("Kundenr", "MålepunktID"):
        value = cells(500)[header]
        broken = row(500, **{header: f'"{value}\nx"'})
        yield Case(
            name=f"a line break declared legal in {header}",
            fault="CS6",
            content=csv_of([row(1), broken, row(3)]),
            profile=ids,
            rows=3,
            quarantined={3: ANY},
        )
    header = csv_of(rows(2)).replace(b"Merknad", b'"Merk\nnad"', 1)
    yield Case(name="a line break in the header", fault="CS6", content=header, rows=2, may_be_refused=True)


def _quotes() -> Iterator[Case]:
    for column in ("Merknad", "Kundenr"):
        for span in (1, 2, 3, 10, 100, 1000):
            lines = rows(span + 4)
            number = 3
            lines[2] = row(number, **{column: '"' + cells(number)[column]})
            closing = number + span
            lines[2 + span] = row(closing, **{column: cells(closing)[column] + '"'})
            yield Case(
                name=f"a stray quote in {column} closed {span} lines later",
                fault="CS7",
                content=csv_of(lines),
                rows=span + 4,
                unreadable={4: None},
                heights={4: span + 1},
            )
    for span in (1, 5, 20):  # the column may hold line breaks, but not whole rows: they would be lost (T2)
        lines = rows(span + 4)
        lines[2] = row(3, Adresse='"Påfunnveien 3')
        lines[2 + span] = row(3 + span, Adresse='Påfunnveien 5"')
        yield Case(
            name=f"a stray quote in an address closed {span} lines later",
            fault="CS7",
            content=csv_of(lines),
            rows=span + 4,
            unreadable={4: None},
            heights={4: span + 1},
        )
    lines = rows(6)
    lines[2] = row(3, Merknad='"åpen')
    yield Case(
        name="a quote that never closes",
        fault="CS7",
        content=csv_of(lines),
        rows=6,
        unreadable={4: None},
        heights={4: 4},
        may_be_refused=True,
    )
    lines[2] = row(3, Adresse='"åpen')
    yield Case(
        name="a quote that never closes in an address",
        fault="CS7",
        content=csv_of(lines),
        rows=6,
        unreadable={4: None},
        heights={4: 4},
        may_be_refused=True,
    )
    loose = frozenset({"unreadable", "valid"})
    for name, value, expected in (
        ("quotes doubled inside quotes", '"Gården ""Nordre"" 3"', {}),
        ("a separator inside quotes", '"Påfunnveien 3; inngang B"', {}),
        ("only quotes", '""', {}),
        ("a quoted quote", '""""', {}),
        ("a quote in the middle of plain text", 'Gården "Nordre" 3', {"loose": loose}),
        ("a quote at the end of plain text", 'Gården 3"', {"loose": loose}),
        ("text behind a closing quote", '"Gården" 3', {"unreadable": None}),
        ("a blank behind a closing quote", '"Gården" ', {"loose": loose}),
        ("a blank before an opening quote", ' "Gården"', {"loose": loose}),
        ("a backslash before a quote", '"Gården \\"Nordre\\""', {"unreadable": None}),
        ("a single quote", "O'Nobodys vei", {}),
    ):
        yield cell(name, "CS7", "Adresse", value, **expected)
    every = [";".join(f'"{value}"' for value in cells(number).values()) for number in range(1, 4)]
    yield Case(name="every field quoted", fault="CS7", content=csv_of(every), rows=3)
    header = ";".join(f'"{name}"' for name in NAMES)
    yield Case(name="every header quoted", fault="CS7", content=csv_of(rows(3), header=header), rows=3)
    single = [";".join(f"'{value}'" for value in cells(number).values()) for number in range(1, 4)]
    declared = {"file": {"quote": "'"}}
    yield Case(name="single quotes declared", fault="CS7", content=csv_of(single), profile=declared, rows=3)
    inches = row(500, Merknad='12" rør')
    unquoted = {"file": {"quote": "", "multiline": []}}
    yield one_bad("an inch sign where nothing is quoted", "CS7", inches, profile=unquoted)
    separated = row(500, Adresse='"a; b"')
    yield one_bad(
        "a quoted separator where nothing is quoted",
        "CS7",
        separated,
        profile=unquoted,
        unreadable=Unreadable.TOO_MANY_FIELDS,
    )
    for count, lost in ((7, False), (8, True)):  # a row has eight: as many are rows between two stray quotes
        wide = row(500, Adresse='"a\n' + ";" * count + '\nb"')
        yield Case(
            name=f"{count} separators on their own line inside an address",
            fault="CS7",
            content=csv_of([row(1), wide, row(3)]),
            rows=5 if lost else 3,
            unreadable={3: Unreadable.LINE_BREAK_IN_QUOTES} if lost else {},
            heights={3: 3},
        )


def _widths() -> Iterator[Case]:
    good = row(500)
    shapes = {
        "one field too few": (good.rpartition(";")[0], Unreadable.TOO_FEW_FIELDS),
        "two fields too few": (";".join(good.split(";")[:-2]), Unreadable.TOO_FEW_FIELDS),
        "one field only": ("K00000500", Unreadable.TOO_FEW_FIELDS),
        "one field too many": (good + ";x", Unreadable.TOO_MANY_FIELDS),
        "one empty field too many": (good + ";", Unreadable.TOO_MANY_FIELDS),
        "twice the fields": (good + ";" + good, Unreadable.TOO_MANY_FIELDS),
        "another separator": (good.replace(";", ","), Unreadable.TOO_FEW_FIELDS),
    }
    for name, (bad, reason) in shapes.items():
        for place, before, after in (("first", 0, 3), ("middle", 3, 3), ("last", 3, 0)):
            yield one_bad(
                f"{name} in the {place} row", "CS8", bad, before=before, after=after, unreadable=reason
            )
    moved = [row(number).rpartition(";")[0] for number in range(1, 4)]
    yield Case(
        name="every row one field short",
        fault="CS8",
        content=csv_of(moved),
        rows=3,
        unreadable={2: Unreadable.TOO_FEW_FIELDS, 3: Unreadable.TOO_FEW_FIELDS, 4: Unreadable.TOO_FEW_FIELDS},
        may_be_refused=True,
    )
    short_then_long = [row(1), good.rpartition(";")[0], row(2), good + ";x", row(3)]
    yield Case(
        name="a short row and a long row",
        fault="CS8",
        content=csv_of(short_then_long),
        rows=5,
        unreadable={3: Unreadable.TOO_FEW_FIELDS, 5: Unreadable.TOO_MANY_FIELDS},
    )
    yield one_bad("separators only, so outside keep", "CS8", ";" * 8, filtered=True)
    aktiv = ";" * 6 + "Aktiv;;"
    yield one_bad("nothing but a status", "CS8", aktiv, quarantined=ANY)
    yield one_bad("a line of blanks", "CS8", "   ", unreadable=None)
    blank = [row(1), "", row(2), "", "", row(3)]
    yield Case(name="blank lines between rows are no rows", fault="CS8", content=csv_of(blank), rows=3)
    yield Case(
        name="blank lines behind the rows are no rows", fault="CS8", content=csv_of(rows(3)) + b"\n\n", rows=3
    )
    tail = [row(1), "", row(2, MålepunktID="1")]
    yield Case(
        name="the line after a blank one is named",
        fault="CS8",
        content=csv_of(tail),
        rows=2,
        quarantined={4: ANY},
    )
    late = rows(3_000)
    late[2_900] = late[2_900].rpartition(";")[0]
    yield Case(
        name="a short row after thousands",
        fault="CS8",
        content=lambda: csv_of(late),
        rows=3_000,
        unreadable={2_902: Unreadable.TOO_FEW_FIELDS},
    )


def _sizes() -> Iterator[Case]:
    limit = 64 * 1024
    yield cell("a remark just below 64 kB", "CS9", "Merknad", "x" * (limit - 1))
    for name, size in (("above 64 kB", limit + 1), ("of half a megabyte", 500_000)):
        yield cell(f"a remark {name}", "CS9", "Merknad", "x" * size, unreadable=Unreadable.FIELD_TOO_LONG)
        yield cell(
            f"a customer number {name}", "CS9", "Kundenr", "x" * size, unreadable=Unreadable.FIELD_TOO_LONG
        )
        yield cell(
            f"a quoted remark {name}",
            "CS9",
            "Merknad",
            '"' + "x" * size + '"',
            unreadable=Unreadable.FIELD_TOO_LONG,
        )
    huge = row(500, Merknad="x" * 5_000_000)
    yield one_bad("a remark of five megabytes", "CS9", huge, unreadable=None, may_be_refused=True)
    wide = row(500) + ";x" * 700_000
    yield one_bad("a row of 700 000 fields", "CS9", wide, unreadable=None, may_be_refused=True)
    columns = ";".join([HEADER, *(f"x{number}" for number in range(480))])
    yield Case(
        name="489 columns",
        fault="CS9",
        content=csv_of([row(number) + ";" * 480 for number in range(1, 4)], header=columns),
        rows=3,
    )
    for count in (600, 10_000):
        columns = ";".join([HEADER, *(f"x{number}" for number in range(count))])
        content = csv_of([row(1) + ";" * count], header=columns)
        yield Case(name=f"{count} columns too many", fault="CS9", content=content, refused=())
    long_header = csv_of(rows(2), header=HEADER + ";" + "x" * 2_000_000)
    yield Case(name="a header of two megabytes", fault="CS9", content=long_header, refused=())
    endless = HEADER.encode() + b"\n" + b"K1;" * 700_000
    yield Case(name="no line end for two megabytes", fault="CS9", content=endless, refused=())


def _headers() -> Iterator[Case]:
    lines = rows(3)

    def with_header(header: str) -> bytes:
        return csv_of(lines, header=header)

    folded = {"file": {"header": "folded"}}
    extra = [line + ";x" for line in lines]
    yield Case(
        name="a mapped header twice",
        fault="CS10",
        content=csv_of(extra, header=HEADER + ";Kundenr"),
        refused=(),
    )
    yield Case(
        name="an unmapped header twice",
        fault="CS10",
        content=csv_of(extra, header=HEADER + ";Merknad"),
        refused=(),
    )
    padded = HEADER.replace("Kundenr", " Kundenr ")
    yield Case(name="a padded header", fault="CS10", content=with_header(padded), refused=())
    yield Case(
        name="a padded header, folded", fault="CS10", content=with_header(padded), profile=folded, rows=3
    )
    upper = HEADER.upper()
    yield Case(name="a header in capitals", fault="CS10", content=with_header(upper), refused=())
    yield Case(
        name="a header in capitals, folded", fault="CS10", content=with_header(upper), profile=folded, rows=3
    )
    clash = csv_of(extra, header=HEADER + ";KUNDENR")
    yield Case(name="two headers that fold to one", fault="CS10", content=clash, profile=folded, refused=())
    yield Case(name="two headers that differ in case", fault="CS10", content=clash, rows=3)
    for old, new in (("MålepunktID", "MeteringPointId"), ("Kundenr", "Kundenummer"), ("Anlegg", "")):
        yield Case(
            name=f"{old} renamed to {new or 'nothing'}",
            fault="CS10",
            content=with_header(HEADER.replace(old, new)),
            refused=(old,),
        )
    for missing in ("Kundenr", "Anlegg", "MålepunktID", "Breddegrad", "Lengdegrad", "Status", "Kundetype"):
        place = NAMES.index(missing)
        names = [name for name in NAMES if name != missing]
        short = [";".join(value for n, value in enumerate(line.split(";")) if n != place) for line in lines]
        yield Case(
            name=f"{missing} left out",
            fault="CS10",
            content=csv_of(short, header=";".join(names)),
            refused=(missing,),
        )
    order = [NAMES[n] for n in (8, 5, 4, 0, 7, 3, 6, 1, 2)]
    moved = [";".join(cells(number)[name] for name in order) for number in range(1, 4)]
    yield Case(
        name="columns in another order", fault="CS10", content=csv_of(moved, header=";".join(order)), rows=3
    )
    yield Case(
        name="an extra column", fault="CS10", content=csv_of(extra, header=HEADER + ";Fødselsnummer"), rows=3
    )
    front = csv_of([f"x;{line}" for line in lines], header=f"Rad;{HEADER}")
    yield Case(name="an extra column in front", fault="CS10", content=front, rows=3)
    unnamed = csv_of(extra, header=HEADER + ";")
    yield Case(name="a column without a name", fault="CS10", content=unnamed, rows=3, may_be_refused=True)
    trailing = csv_of([line + ";" for line in lines], header=HEADER)
    yield Case(
        name="a separator behind every row but not the header",
        fault="CS10",
        content=trailing,
        rows=3,
        unreadable={
            2: Unreadable.TOO_MANY_FIELDS,
            3: Unreadable.TOO_MANY_FIELDS,
            4: Unreadable.TOO_MANY_FIELDS,
        },
        may_be_refused=True,
    )
    yield Case(name="no header at all", fault="CS10", content=csv_of(lines, header=None), refused=())
    yield Case(
        name="decomposed letters in a header",
        fault="CS10",
        content=with_header(HEADER.replace("å", "a\u030a")),
        refused=(),
    )
    yield Case(
        name="a zero-width space in a header",
        fault="CS10",
        content=with_header(HEADER.replace("Kundenr", "Kunde\u200bnr")),
        refused=(),
    )
    yield Case(name="a blank line before the header", fault="CS10", content=b"\n" + csv_of(lines), refused=())
    titled = csv_of(["Uttrekk 2026-01-01", HEADER, *lines], header=None)
    yield Case(name="a title line before the header", fault="CS10", content=titled, refused=())
    second = {"file": {"header_line": 2}}
    yield Case(name="a title line, declared", fault="CS10", content=titled, profile=second, rows=3)
    fourth = csv_of(["Uttrekk", "", "Nordkraft; alle", HEADER, *lines], header=None)
    yield Case(
        name="three lines before the header, declared",
        fault="CS10",
        content=fourth,
        profile={"file": {"header_line": 4}},
        rows=3,
    )
    named = [*lines, row(500, MålepunktID="1")]
    content = csv_of(["Uttrekk", "", "x", HEADER, *named], header=None)
    yield Case(
        name="lines are counted from the top of the file",
        fault="CS10",
        content=content,
        profile={"file": {"header_line": 4}},
        rows=4,
        quarantined={8: ANY},
    )
    yield Case(
        name="header line beyond the end",
        fault="CS10",
        content=titled,
        profile={"file": {"header_line": 40}},
        refused=(),
    )
    marked = csv_of(["sep=;", HEADER, *lines], header=None)
    yield Case(
        name="sep=; declared as a line before the header",
        fault="CS10",
        content=marked,
        profile=second,
        rows=3,
    )
    yield Case(name="sep=; not declared", fault="CS10", content=marked, rows=3, may_be_refused=True)
    other = csv_of(["sep=,", HEADER, *lines], header=None)
    yield Case(name="sep=, that contradicts the profile", fault="CS10", content=other, refused=())


def _dialects() -> Iterator[Case]:
    lines = [cells(number) for number in range(1, 4)]

    def separated(sign: str) -> bytes:
        return csv_of([sign.join(values.values()) for values in lines], header=sign.join(NAMES))

    for name, sign in (("comma", ","), ("tab", "\t"), ("bar", "|")):
        content = separated(sign)
        yield Case(name=f"{name} where a semicolon is declared", fault="CS11", content=content, refused=())
        if sign != ",":
            yield Case(
                name=f"{name} declared",
                fault="CS11",
                content=content,
                profile={"file": {"separator": sign}},
                rows=3,
            )
    dotted = [
        values | {key: values[key].replace(",", ".") for key in ("Breddegrad", "Lengdegrad")}
        for values in lines
    ]
    commas = csv_of([",".join(values.values()) for values in dotted], header=",".join(NAMES))
    english = {"file": {"separator": ",", "decimal": "."}}
    yield Case(name="comma and point declared", fault="CS11", content=commas, profile=english, rows=3)
    yield Case(
        name="semicolon where a comma is declared",
        fault="CS11",
        content=separated(";"),
        profile=english,
        refused=(),
    )
    point = {"file": {"decimal": "."}}
    yield Case(
        name="decimal commas where points are declared",
        fault="CS11",
        content=separated(";"),
        profile=point,
        rows=3,
        quarantined={2: ANY, 3: ANY, 4: ANY},
        may_be_refused=True,
    )
    for name, value in (
        ("a thousands blank", "6 0,10501"),
        ("a thousands point and a comma", "1.060,10501"),
        ("two decimal commas", "60,105,01"),
    ):
        yield cell(name, "CS11", "Breddegrad", value, quarantined=ANY)


def _drift() -> Iterator[Case]:
    lines = rows(220)
    lines[210] = row(211, Breddegrad="x")
    yield Case(
        name="a word after 200 numbers", fault="CS12", content=csv_of(lines), rows=220, quarantined={212: ANY}
    )
    lines = rows(220)
    lines[210] = row(211, MålepunktID="ukjent")
    yield Case(
        name="a word after 200 ids", fault="CS12", content=csv_of(lines), rows=220, quarantined={212: ANY}
    )
    lines = [row(number, Kundenr=str(10_000 + number)) for number in range(1, 221)]
    lines[210] = row(211, Kundenr="K-211")
    yield Case(name="a letter after 200 customer numbers", fault="CS12", content=csv_of(lines), rows=220)
    lines = [row(number, Kundenr=f"{number:010}") for number in range(1, 6)]
    yield Case(name="customer numbers with leading zeros", fault="CS12", content=csv_of(lines), rows=5)


def _words_for_nothing() -> Iterator[Case]:
    words = ("NULL", "null", "NA", "N/A", "#N/A", "-", "None", "nan")
    for word in words:
        declared = {"file": {"nulls": ["", word]}}
        yield one_bad(
            f"{word} declared as nothing in both coordinates",
            "CS14",
            row(500, Breddegrad=word, Lengdegrad=word),
            profile=declared,
        )
        yield cell(f"{word} as a latitude", "CS14", "Breddegrad", word, quarantined=ANY)
        yield cell(f"{word} as a meter point", "CS14", "MålepunktID", word, quarantined=ANY)
        yield cell(
            f"{word} as a customer, declared as nothing",
            "CS14",
            "Kundenr",
            word,
            profile=declared,
            quarantined=ANY,
        )
    empty = row(500, Breddegrad='""', Lengdegrad='""')
    yield one_bad("quoted nothing is nothing", "CS14", empty)
    yield cell("a quoted empty customer", "CS14", "Kundenr", '""', quarantined=ANY)
    yield one_bad(
        "blank coordinates",
        "CS14",
        row(500, Breddegrad=" ", Lengdegrad=" "),
        loose=frozenset({"valid", "quarantined"}),
    )


def _formulas() -> Iterator[Case]:
    for sign in ("=1+1", "+1", "-1", "@SUM(A1)", "\uff1d1+1"):
        yield cell(f"{sign} as a remark is kept", "CS15", "Merknad", sign)
        yield cell(f"{sign} as a customer is kept", "CS15", "Kundenr", sign)
    yield cell("a command as a remark is kept", "CS15", "Merknad", "\"=cmd|' /C calc'!A0\"")


def _strangers() -> Iterator[Case]:
    yield one_bad("the header again", "CS16", HEADER, unreadable=Unreadable.REPEATED_HEADER)
    quoted = ";".join(f'"{name}"' for name in NAMES)
    yield one_bad("the header again, quoted", "CS16", quoted, unreadable=Unreadable.REPEATED_HEADER)
    twice = [*rows(2), HEADER, *rows(2, first=10), HEADER, *rows(2, first=20)]
    yield Case(
        name="three exports joined",
        fault="CS16",
        content=csv_of(twice),
        rows=8,
        unreadable={4: Unreadable.REPEATED_HEADER, 7: Unreadable.REPEATED_HEADER},
    )
    yield Case(
        name="only headers",
        fault="CS16",
        content=csv_of([HEADER, HEADER]),
        rows=2,
        unreadable={2: Unreadable.REPEATED_HEADER, 3: Unreadable.REPEATED_HEADER},
        may_be_refused=True,
    )
    yield one_bad(
        "a total that is not declared", "CS16", "Totalt;5", after=0, unreadable=Unreadable.TOO_FEW_FIELDS
    )
    yield one_bad("a total as wide as a row", "CS16", "Totalt" + ";" * 8 + "5", after=0, filtered=True)
    total = csv_of([*rows(4), "Totalt;4"])
    yield Case(
        name="a total that is declared",
        fault="CS16",
        content=total,
        profile={"file": {"footer_lines": 1}},
        rows=4,
    )
    both = csv_of([*rows(4), "", "Totalt;4", "Slutt"])
    yield Case(
        name="three footer lines declared",
        fault="CS16",
        content=both,
        profile={"file": {"footer_lines": 3}},
        rows=4,
    )
    yield Case(
        name="more footer than file",
        fault="CS16",
        content=csv_of(rows(2)),
        profile={"file": {"footer_lines": 9}},
        refused=(),
    )
    yield one_bad("a comment", "CS16", "# tatt ut 2026-01-01", unreadable=Unreadable.TOO_FEW_FIELDS)
    yield one_bad("a line of dashes", "CS16", "-" * 40, unreadable=Unreadable.TOO_FEW_FIELDS)
    yield one_bad(
        "(3 rows affected)", "CS16", "(3 rows affected)", after=0, unreadable=Unreadable.TOO_FEW_FIELDS
    )


def _last_rows() -> Iterator[Case]:
    whole = csv_of(rows(3))
    last = row(3).encode()
    for left in range(1, len(last) + 1):
        if left % 3 and left != len(last):
            continue
        cut = whole[: -len(last) - 1 + left]
        yield Case(name=f"last row cut after {left} bytes", fault="CS17", content=cut, refused=())
    quoted = csv_of([row(1), row(2, Merknad='"ferdig"')])[:-1]
    yield Case(name="last row ends in a quote without a line end", fault="CS17", content=quoted, refused=())
    footer = csv_of([*rows(3), "Totalt;3"])[:-1]
    yield Case(
        name="a declared footer without a line end",
        fault="CS17",
        content=footer,
        profile={"file": {"footer_lines": 1}},
        rows=3,
        may_be_refused=True,
    )


def csv_cases() -> list[Case]:
    """Everything that is wrong inside a CSV."""
    parts = (
        _encodings, _controls, _line_ends, _breaks_in_quotes, _quotes, _widths, _sizes, _headers, _dialects,
        _drift, _words_for_nothing, _formulas, _strangers, _last_rows,
    )  # fmt: skip
    return numbered(case for part in parts for case in part())
