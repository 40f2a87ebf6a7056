import json
import logging
import stat

import pytest
import structlog

from flows.logs import FLOORS, LOG_NAME, _PrivateFile, configure, error_fields
from schemas.errors import GuardError


@pytest.fixture
def lines(tmp_path):
    """Every line logged so far, each of which must be one JSON object."""
    configure(tmp_path)
    yield lambda: [json.loads(line) for line in (tmp_path / LOG_NAME).read_bytes().splitlines()]
    configure(tmp_path / "afterwards")
    logging.getLogger().setLevel(logging.WARNING)


def test_a_field_outside_the_list_is_dropped_by_name(lines):
    structlog.get_logger("flows.x").info("chunk sent", chunk=3, body="canary", user_id="canary")
    (line,) = lines()
    assert (line["event"], line["chunk"], line["level"], line["logger"]) == (
        "chunk sent",
        3,
        "info",
        "flows.x",
    )
    assert line["dropped_fields"] == ["body", "user_id"]
    assert "canary" not in json.dumps(line)


@pytest.mark.parametrize(
    "attack", ["a\nb", "\x1b[2J", "\u2028{}", "\x00", "x\u202ey", "\ud800", '"}\r\n{"a":"']
)
def test_one_event_is_one_line_of_plain_ascii(tmp_path, lines, attack):
    structlog.get_logger("flows").warning("refused", cause=attack)
    raw = (tmp_path / LOG_NAME).read_bytes()
    assert raw.count(b"\n") == 1
    assert raw[:-1].decode("ascii").isprintable()
    assert lines()[0]["event"] == "refused"


def test_what_json_lacks_is_written_as_text(lines):
    structlog.get_logger("flows").info("x", seconds=float("nan"), rate=float("inf"), count=1)
    assert [lines()[0][name] for name in ("seconds", "rate", "count")] == ["nan", "inf", 1]


def test_long_digit_runs_are_masked_and_text_is_capped(lines):
    structlog.get_logger("flows").info("x", cause="id 707057500012345678 " + "y" * 500)
    (line,) = lines()
    assert line["cause"].startswith("id …5678 y")
    assert len(line["cause"]) == 200


def test_a_traceback_has_frames_but_no_values(lines):
    def explode(secret):
        raise ValueError(f"canary {secret}")

    try:
        explode("canary")
    except ValueError:
        structlog.get_logger("flows").exception("broken")
    (line,) = lines()
    assert line["error"] == "ValueError"
    assert line["frames"][-1].endswith(" explode")
    assert "canary" not in json.dumps(line)


def test_error_fields_of_an_error_never_raised():
    assert error_fields(GuardError("x", guard="y")) == {"error": "GuardError", "frames": []}


def test_what_a_library_says_is_kept_without_its_text(lines):
    logging.getLogger("sqlalchemy.pool").error("row canary %s", "canary")
    (line,) = lines()
    assert (line["logger"], line["level"]) == ("sqlalchemy.pool", "error")
    assert "canary" not in json.dumps(line)


def test_a_standard_library_logger_of_ours_keeps_the_template_only(lines):
    logging.getLogger("connectors.api").info("token refreshed for %s", "canary")
    assert lines()[0]["event"] == "token refreshed for %s"


def test_http_libraries_stay_quiet_even_at_debug(tmp_path, lines):
    configure(tmp_path, level=logging.DEBUG)
    for name in FLOORS:
        logging.getLogger(name).info("GET https://api.example/users/canary")
        logging.getLogger(name).debug("canary")
    structlog.get_logger("flows").debug("seen")
    assert [line["event"] for line in lines()] == ["seen"]


def test_the_file_is_private(tmp_path, lines):
    assert stat.S_IMODE((tmp_path / LOG_NAME).stat().st_mode) == 0o600


def test_a_log_that_cannot_be_opened_is_no_reason_not_to_work(tmp_path):
    (tmp_path / "file").write_text("")
    assert configure(tmp_path / "file" / "below") is None
    structlog.get_logger("flows").info("goes nowhere")


def test_a_log_that_cannot_be_written_is_counted(tmp_path, lines):
    (handler,) = [handler for handler in logging.getLogger().handlers if isinstance(handler, _PrivateFile)]
    with open(__file__) as not_writable:
        handler.setStream(not_writable).close()
        structlog.get_logger("flows").info("lost")
    assert handler.unwritten == 1


def test_configuring_twice_does_not_double_the_lines(tmp_path, lines):
    configure(tmp_path)
    structlog.get_logger("flows").info("once")
    assert len(lines()) == 1
