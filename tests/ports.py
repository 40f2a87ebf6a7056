"""A port of this machine that nobody else is given meanwhile."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def port_kept() -> Iterator[int]:
    """A port that is nobody's until the block ends, but for servers that ask for it by its number.

    A port that was merely free a moment ago may be somebody else's by now: many tests run side by side. This one is
    held by a socket that does not listen, so a caller is refused, the kernel gives it to nobody, and a server that
    says SO_REUSEADDR, as servers do, may still take it, more than once.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]
