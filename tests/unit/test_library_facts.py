"""What judging takes for granted of Polars and Pandera: an upgrade that changes one fails here, by name."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pandera.polars as pa
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandera.errors import SchemaErrors

SHORT = pa.Check(lambda data: data.lazyframe.select(pl.col(data.key).str.len_chars() < 3), name="id_is_short")
SCHEMA = pa.DataFrameSchema({"id": pa.Column(pl.String, checks=[SHORT], nullable=True)})
ROWS = pl.DataFrame({"id": ["a", "long", None, "longer"]})


def cases(schema: pa.DataFrameSchema, rows: pl.DataFrame | pl.LazyFrame) -> pl.DataFrame:
    with pytest.raises(SchemaErrors) as raised:
        schema.validate(rows, lazy=True)
    found: pl.DataFrame = raised.value.failure_cases
    return found


def test_pandera_says_nothing_about_the_data_of_a_lazy_frame() -> None:
    """So rows are judged as DataFrames."""
    SCHEMA.validate(ROWS.lazy(), lazy=True)


def test_pandera_names_row_column_and_check() -> None:
    assert cases(SCHEMA, ROWS).select("index", "column", "check").rows() == [
        (1, "id", "id_is_short"),
        (3, "id", "id_is_short"),
    ]


def test_a_check_of_a_column_may_look_at_the_whole_frame() -> None:
    both = pa.Check(lambda data: data.lazyframe.select(pl.col("id") == pl.col("other")), name="they_agree")
    schema = pa.DataFrameSchema({"id": pa.Column(pl.String, checks=[both])})

    assert cases(schema, pl.DataFrame({"id": ["a", "b"], "other": ["a", "c"]}))["index"].to_list() == [1]


def test_failures_without_a_row_are_about_the_shape() -> None:
    missing = cases(SCHEMA, pl.DataFrame({"other": [1]}))
    wrong_type = cases(SCHEMA, pl.DataFrame({"id": [1]}))

    assert missing["index"].to_list() == [None]
    assert None in wrong_type["index"].to_list()


def test_a_check_that_raises_fails_without_a_row() -> None:
    """So a rule that fails on one row is found by halving the batch."""
    raises = pa.Check(lambda data: data.lazyframe.select(pl.col("id").cast(pl.Int64) > 0), name="raises")
    schema = pa.DataFrameSchema({"id": pa.Column(pl.String, checks=[raises], nullable=True)})

    assert cases(schema, ROWS)["index"].to_list() == [None]


def test_coercing_hides_the_rows_of_other_failures() -> None:
    """So nothing is coerced: text is parsed beside its raw form."""
    small = pa.Check(lambda data: data.lazyframe.select(pl.col(data.key) < 3), name="number_is_small")
    schema = pa.DataFrameSchema({"n": pa.Column(pl.Int64, checks=[small], coerce=True)})

    assert cases(schema, pl.DataFrame({"n": ["1", "9", "x"]}))["index"].null_count() > 0


def test_pandera_quotes_values_in_cases_and_in_its_message() -> None:
    """So nothing but row, column and check is taken from it, and its message goes nowhere."""
    with pytest.raises(SchemaErrors) as raised:
        SCHEMA.validate(ROWS, lazy=True)

    assert "long" in raised.value.failure_cases["failure_case"].to_list()


def test_a_check_of_the_frame_quotes_the_whole_row() -> None:
    """So every rule is a check of a column."""
    schema = pa.DataFrameSchema(
        checks=[pa.Check(lambda data: data.lazyframe.select(pl.col("id") == "a"), name="n")]
    )
    rows = pl.DataFrame({"id": ["a", "b"], "secret": ["x", "y"]})

    assert json.loads(cases(schema, rows)["failure_case"][0]) == {"id": "b", "secret": "y"}


# ------------------------------------------------------------------ Polars
def test_digits_of_regular_expressions_are_unicode_and_those_of_casts_are_not() -> None:
    wide = pl.Series(["１２３"])

    assert wide.str.contains(r"^\d{3}$").item()
    assert not wide.str.contains(r"^[0-9]{3}$").item()
    assert wide.cast(pl.UInt64, strict=False).item() is None


def test_integers_may_carry_a_plus_and_nothing_else() -> None:
    """A plus leaves one digit less than the length says, which the lower bound of a scheme finds."""
    texts = pl.Series(["+12", "-12", " 12", "1_2", "1e2", "12.0", "012"])

    assert texts.cast(pl.UInt64, strict=False).to_list() == [12, None, None, None, None, None, 12]


def test_floats_are_read_out_of_words_and_exponents() -> None:
    """So a number is one only when it is also written like one."""
    values = pl.Series(["nan", "inf", "1e400", "1e2"]).cast(pl.Float64, strict=False)

    assert values.is_null().sum() == 0
    assert values.is_finite().to_list() == [False, False, False, True]


def test_a_dollar_matches_at_the_very_end_only() -> None:
    assert not pl.Series(["12\n"]).str.contains("^12$").item()


def test_looking_up_nothing_gives_nothing() -> None:
    place = pl.DataFrame({"place": pl.Series([0, None], dtype=pl.UInt32)})

    assert place.select(pl.lit(pl.Series([7, 8])).gather(pl.col("place"))).to_series().to_list() == [7, None]


def test_the_opposite_of_unknown_is_unknown() -> None:
    """So every rule says what a missing value means."""
    assert pl.select(~pl.lit(None, pl.Boolean)).item() is None


# ------------------------------------------------------------------ Hypothesis
def drawn() -> list[tuple[int, str]]:
    """The examples of a test."""
    seen: list[tuple[int, str]] = []

    @settings(derandomize=True)
    @given(st.integers(), st.text())
    def tried(number: int, text: str) -> None:
        seen.append((number, text))

    tried()
    return seen


def test_the_same_examples_are_tried_whatever_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So `make test` says the same every time; see tests/conftest.py."""
    if settings.get_current_profile_name() == "exploring":
        pytest.skip("new examples are looked for, also among what is imported")
    before = drawn()
    (tmp_path / "of_ours.py").write_text(
        "NUMBERS = 918273645546372, 192837465645\nTEXT = 'et sted i skogen'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("of_ours")
    assert before == drawn()


# ------------------------------------------------------------------ object stores
def test_what_reads_s3_heeds_proxies_and_addresses_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So docs/configuration.md says that only the way to the API does not."""
    session, utils = importlib.import_module("botocore.session"), importlib.import_module("botocore.utils")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("https_proxy", "http://proxy.example")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://store.example")
    client = session.Session().create_client("s3", region_name="eu-north-1")
    assert ("https://store.example", "http://proxy.example") == (
        client.meta.endpoint_url,
        utils.get_environ_proxies(client.meta.endpoint_url)["https"],
    )
