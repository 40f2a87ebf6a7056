"""A browser that can reach nothing, and the example pages to open in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from connectors.reports import write_index
from tests.golden import runs
from tests.unit.test_reports import written

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
EXAMPLES = ("mixed", "clean", "stopped", "hostile")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, for one module: while it runs no other test could have an event loop of its own."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    if executable is None:
        pytest.skip(
            "NO BROWSER: chromium is not installed, so no page was looked at (apt-get install chromium)"
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS, timeout=240_000)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with the example runs, earlier runs and the index."""
    folder = tmp_path_factory.mktemp("runs")
    for name in EXAMPLES:
        written(folder / name, getattr(runs, name)())
    for number, document in enumerate(runs.mixed().history):
        (folder / f"before-{number}").mkdir()
        (folder / f"before-{number}" / "summary.json").write_text(json.dumps(document))
    write_index(folder)
    return folder
