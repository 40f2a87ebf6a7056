"""Standard output and error as they may be: closed, full, without a reader. The work counts, not who looks at it.

Python raises where a stream refuses: in the middle of a `print`, and once more when it flushes at the very end, which
makes the exit code 120. A schedule would be told of a failure where there was none, so our streams bear it.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_GONE: Final = frozenset({errno.EPIPE, errno.EIO})
"""The reader went away (`| head`), the terminal was closed: nobody misses what is not written."""


class _Bearing(io.FileIO):
    """A descriptor that takes everything; after the first refusal it goes nowhere."""

    refusal: OSError | None = None

    def write(self, data: ReadableBuffer, /) -> int:
        """The bytes taken; None, as of every raw stream, where it would have to wait."""
        if self.refusal is None:
            try:
                return super().write(data)
            except OSError as error:
                self.refusal = error
        return memoryview(data).nbytes


def bear() -> None:
    """Let no stream of this process fail: what is closed is the null device, what refuses is given up.

    A stream somebody else put in place, a test for instance, is left alone but for what it does with a character
    it cannot encode: a file name in a narrow locale is no reason to die.
    """
    _fill_closed()
    if sys.stdin is None:
        sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115  # for as long as the process lives
    sys.stdout = _borne(sys.stdout, sys.__stdout__)
    sys.stderr = _borne(sys.stderr, sys.__stderr__)


def _fill_closed() -> None:
    """Give a closed descriptor to the null device, before a ledger opens it and is written to as if it were stdout."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest that is free: this one


def _borne(stream: TextIO | None, own: TextIO | None) -> TextIO:
    if stream is None:
        return Path(os.devnull).open("w", encoding="utf-8")
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    if stream is not own:
        stream.reconfigure(errors="backslashreplace")
        return stream
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Bearing(stream.fileno(), "w", closefd=False)),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering or stream.write_through,
    )


def refusal_of(stream: TextIO) -> OSError | None:
    """Why a stream did not take all that was written to it; a reader that went away is no such reason."""
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    refusal = raw.refusal if isinstance(raw, _Bearing) else None
    return None if refusal is None or refusal.errno in _GONE else refusal
