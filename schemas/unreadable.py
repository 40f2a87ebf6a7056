"""Why a row could not be read: a closed list, each reason with its sentence and its cure."""

from __future__ import annotations

from enum import StrEnum


class Unreadable(StrEnum):
    """A reason a row cannot be split or decoded into the declared columns."""

    TOO_FEW_FIELDS = "too_few_fields"
    TOO_MANY_FIELDS = "too_many_fields"
    LINE_BREAK_IN_QUOTES = "line_break_in_quotes"
    STRAY_QUOTE = "stray_quote"
    UNDECODABLE = "undecodable"
    NUL_BYTE = "nul_byte"
    STRAY_CARRIAGE_RETURN = "stray_carriage_return"
    OTHER_LINE_END = "other_line_end"
    CONTROL_Z = "control_z"
    FIELD_TOO_LONG = "field_too_long"
    RECORD_TOO_LONG = "record_too_long"
    REPEATED_HEADER = "repeated_header"

    @property
    def sentence(self) -> str:
        """What is true of such a row."""
        return _SENTENCES[self][0]

    @property
    def cure(self) -> str:
        """What to do about it."""
        return _SENTENCES[self][1]


_SENTENCES: dict[Unreadable, tuple[str, str]] = {
    Unreadable.TOO_FEW_FIELDS: (
        "The row has fewer fields than the header.",
        "Export the row again with every separator; a footer is declared with [file] footer_lines.",
    ),
    Unreadable.TOO_MANY_FIELDS: (
        "The row has more fields than the header.",
        "Quote the field that holds the separator.",
    ),
    Unreadable.LINE_BREAK_IN_QUOTES: (
        "The line is part of a record with a line break inside quotes, in a column where none is legal or around rows.",
        "Close or remove the quote that the first of these lines opens, or list the column in [file] multiline.",
    ),
    Unreadable.STRAY_QUOTE: (
        "A quote opens or closes where no field begins or ends.",
        "Double the quotes inside quoted fields and quote the whole field.",
    ),
    Unreadable.UNDECODABLE: (
        "The row holds bytes that are no text in the declared encoding.",
        "Export the file in one encoding and declare it in [file] encoding.",
    ),
    Unreadable.NUL_BYTE: (
        "The row holds a NUL character.",
        "Export the row again: NUL is no text.",
    ),
    Unreadable.STRAY_CARRIAGE_RETURN: (
        "A carriage return stands in the middle of the line.",
        'Export the row again; when CR ends every line, declare [file] newline = "\\r".',
    ),
    Unreadable.OTHER_LINE_END: (
        "The line does not end the way [file] newline declares.",
        "Export the file with one kind of line end, or leave [file] newline out to allow LF and CRLF.",
    ),
    Unreadable.CONTROL_Z: (
        "The row is the end-of-file mark of an old system (^Z), or holds one.",
        "Export the file without it; at the end of the file, declare [file] footer_lines = 1.",
    ),
    Unreadable.FIELD_TOO_LONG: (
        "A field is longer than 64 kB.",
        "Export the row again: no field we read is that long.",
    ),
    Unreadable.RECORD_TOO_LONG: (
        "The row is longer than 1 MB.",
        "Export the row again: it is usually a missing line end.",
    ),
    Unreadable.REPEATED_HEADER: (
        "The row repeats the header.",
        "Join files without their headers, or give them one by one.",
    ),
}
