"""One JSON object per line, holding only fields of a closed list, into a file only its owner can read.

Nothing a customer wrote belongs in a log: not in the text of an event (events are our own words), not in a
field (others than `FIELDS` are dropped, by name), not in a traceback (frames only, no values). What libraries
log is kept as logger, level and place, without their text, which may hold a URL or a row.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import math
import os
import stat
import sys
import traceback
from collections.abc import MutableMapping
from datetime import UTC, datetime
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, Final, cast

from schemas.masking import masked_text, printable

LOG_NAME: Final = "meterfeed.jsonl"
TEXT_LIMIT: Final = 200
FILE_BYTES: Final = 5_000_000
FILE_COUNT: Final = 5

OURS: Final = ("schemas", "pipeline", "connectors", "flows", "sandbox")
"""Loggers under these names are ours: their event texts are constants of this repository."""

FLOORS: Final = {"httpx": logging.WARNING, "httpcore": logging.WARNING, "hpack": logging.WARNING}
"""Loggers that print URLs or headers at lower levels, whatever level is asked for."""

FIELDS: Final = frozenset(
    {
        *("timestamp", "level", "logger", "event", "dropped_fields", "place"),
        *("run_id", "command", "environment", "exit_code", "verdict", "error", "frames"),
        *("stage", "kind", "rule", "guard", "unit", "cause", "status", "lost"),
        *("source", "partition", "chunk", "attempt", "done", "total", "count", "rows", "records", "requests"),
        *("bytes", "seconds", "rate", "concurrency", "chunk_size", "signal", "version"),
    }
)
"""Every field a log line may have. Ids, names of files, URLs and bodies are not among them, on purpose."""

_OUR_FORMAT: Final = frozenset({"timestamp", "run_id"})
"""Fields whose digits are not masked: we make them ourselves."""


def clean(event: MutableMapping[str, Any]) -> dict[str, Any]:
    """Only the fields of the closed list, their text printable, masked and capped."""
    kept = {name: _clean_value(name, value) for name, value in event.items() if name in FIELDS}
    dropped = [masked_text(name, limit=40) for name in sorted(set(event) - FIELDS)]
    return {**kept, "dropped_fields": dropped} if dropped else kept


def _clean_value(name: str, value: Any) -> Any:
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)  # JSON has no NaN
    if isinstance(value, (list, tuple)):
        return [_clean_value(name, item) for item in value[:50]]
    text = str(value) if isinstance(value, (str, Path)) else type(value).__name__
    return printable(text)[:TEXT_LIMIT] if name in _OUR_FORMAT else masked_text(text, limit=TEXT_LIMIT)


def as_line(event: MutableMapping[str, Any]) -> str:
    """The event as one line of ASCII JSON: no line break or escape sequence can be smuggled into it."""
    return json.dumps(clean(event), ensure_ascii=True, allow_nan=False)


def error_fields(error: BaseException) -> dict[str, Any]:
    """The class of an error and where it was raised: file, line and function of each frame, no values."""
    frames = traceback.extract_tb(error.__traceback__)[-12:]
    return {
        "error": type(error).__name__,
        "frames": [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames],
    }


class _JsonLines(logging.Formatter):
    """Renders a standard library record, ours or a library's, by the same closed list."""

    def format(self, record: logging.LogRecord) -> str:
        event: dict[str, Any] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        if isinstance(record.msg, dict):  # from structlog, see `configure`
            event.update(record.msg)
        elif record.name.split(".")[0] in OURS:
            event["event"] = str(record.msg)  # the template; its arguments stay out
        else:
            event["event"] = "a library said something"
            event["place"] = f"{record.module}:{record.lineno}"
        if record.exc_info and record.exc_info[1] is not None:
            event.update(error_fields(record.exc_info[1]))
        return as_line(event)


def _open_private(path: str, flags: int) -> int:
    """Open the log, if it is a file: a pipe or a device in its place could hold up the work for ever."""
    descriptor = os.open(path, flags | os.O_NONBLOCK, 0o600)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a file")
    os.fchmod(descriptor, 0o600)
    return descriptor


class _PrivateFile(RotatingFileHandler):
    """A rotating file, mode 0600, that never stands in the way of the work: failures to write are counted."""

    unwritten = 0

    def _open(self) -> TextIOWrapper:
        stream = open(self.baseFilename, self.mode, encoding="ascii", opener=_open_private)  # noqa: SIM115
        return cast("TextIOWrapper", stream)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802  # the library's signature
        self.unwritten += 1


def configure(directory: Path | None, *, level: int = logging.INFO, alone: bool = False) -> Path | None:
    """Send every log of this process to `directory`/meterfeed.jsonl, in place of an earlier one.

    Without a directory logs go nowhere, never to the terminal.

    Args:
        directory: where the file goes.
        level: of our own loggers.
        alone: take away what others hung on the root logger. Prefect hangs a console there when it is imported,
            which would print the text of any exception, and with it perhaps a row.

    Returns:
        The path; None if it cannot be written, which is no reason not to work.
    """
    import structlog

    _remove_handlers()
    if alone:
        logging.getLogger().handlers.clear()
    handler = _file_handler(directory) if directory else None
    handler = handler or logging.NullHandler()
    handler.setFormatter(_JsonLines())
    handler.set_name("meterfeed")
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for name in OURS:
        logging.getLogger(name).setLevel(level)
    for name, floor in FLOORS.items():
        logging.getLogger(name).setLevel(max(floor, level))
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, _exception_as_fields, _to_record],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    return Path(handler.baseFilename) if isinstance(handler, _PrivateFile) else None


def _file_handler(directory: Path) -> logging.Handler | None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _PrivateFile(
            directory / LOG_NAME, maxBytes=FILE_BYTES, backupCount=FILE_COUNT, encoding="ascii"
        )
    except OSError:
        return None


def _remove_handlers() -> None:
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if handler.get_name() == "meterfeed"]:
        root.removeHandler(handler)
        with contextlib.suppress(OSError, ValueError):  # a full disk refuses the last flush
            handler.close()


def _exception_as_fields(
    _logger: Any, _name: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    problem = event.pop("exc_info", None)
    if problem is True:
        problem = sys.exc_info()
    if isinstance(problem, BaseException):
        event.update(error_fields(problem))
    elif isinstance(problem, tuple) and isinstance(problem[1], BaseException):
        event.update(error_fields(problem[1]))
    return event


def _to_record(
    _logger: Any, _name: str, event: MutableMapping[str, Any]
) -> tuple[tuple[Any], dict[str, Any]]:
    return (dict(event),), {}
