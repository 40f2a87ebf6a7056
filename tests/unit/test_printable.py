import pytest

from flows.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Kunder Å-Ø 2026.csv", "Kunder Å-Ø 2026.csv"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("two\r\nlines\tand", "two\\x0d\\x0alines\\x09and"),
        ("a\u202eb\u2066c", "a\\u202eb\\u2066c"),
        ("line\u2028break\u0085", "line\\u2028break\\x85"),
        ("\ud800\x7f", "\\ud800\\x7f"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_what_steers_is_shown_not_obeyed(text, shown):
    assert printable(text) == shown
