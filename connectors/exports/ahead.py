"""Reading ahead: the next piece is made by another thread while this one works on the last.

Twice on the way of a row: blocks are fetched, hashed and checked while others are parsed, and a batch is parsed while
the one before it is judged.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from contextlib import suppress
from typing import Final, TypeVar

Item = TypeVar("Item")

DEPTH: Final = 3
"""Pieces held ready. More only costs memory: one side or the other is the slower all the time."""


class _End:
    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def read_ahead(items: Iterator[Item], depth: int = DEPTH) -> Iterator[Item]:
    """The same items in the same order, fetched by another thread, `depth` of them held ready.

    An exception of `items` is raised here, in its place. When the reader stops early, the thread ends
    before this generator is closed: no thread outlives its file.
    """
    ready: queue.Queue[Item | _End] = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def offer(item: Item | _End) -> bool:
        while not stop.is_set():
            with suppress(queue.Full):
                ready.put(item, timeout=0.05)
                return True
        return False

    def fetch() -> None:
        try:
            for item in items:
                if not offer(item):
                    return
            offer(_End(None))
        except BaseException as error:  # noqa: BLE001 - handed over whole to the reading thread
            offer(_End(error))
        finally:
            if isinstance(items, Generator):
                items.close()  # here, where nobody is about to close the file it reads

    thread = threading.Thread(target=fetch, name="meterfeed-read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item = ready.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        stop.set()
        thread.join()
