"""Make the pictures in docs/images again, after the pages have changed. Needs Debian's chromium.

    python -m tests.browser.pictures

Seven quiet mornings on which an export was judged, then a load of a worse one into a sandbox that misbehaves.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from playwright.sync_api import sync_playwright

from flows.commands.trying import DEMO_FAULTS
from sandbox.portfolio import USUAL_DAMAGE, write_portfolio
from sandbox.server import Sandbox
from tests.browser.conftest import ARGUMENTS
from tests.integration.conftest import settings_for

IMAGES: Final = Path(__file__).resolve().parents[2] / "docs" / "images"
SIZE: Final = {"width": 1160, "height": 1000}
MORNINGS: Final = 7
ROWS: Final = 11_840
MORE_ROWS: Final = 40
"""Rows by which each export is longer than the one before."""


def load(data: Path, command: str, export: Path, **settings: str) -> None:
    """Run a command of ours; rows that are held back are no trouble."""
    words = [command, str(export), "--profile", "nordkraft", "--quiet"]
    environ = {
        f"METERFEED_{name.upper()}": text for name, text in {**settings, "data_dir": str(data)}.items()
    }
    done = subprocess.run(
        [sys.executable, "-c", "from flows.cli import main; main()", *words], env={**os.environ, **environ}
    )
    if done.returncode not in (0, 10):
        raise SystemExit(done.returncode)


def runs(folder: Path) -> Path:
    """A data directory with all runs; the last one is the load."""
    data = folder / "runs"
    for number in range(MORNINGS + 1):
        last = number == MORNINGS
        export = folder / f"kunder-{number + 1}.csv"
        damage = {name: share * (1.6 if last else 0.4) for name, share in USUAL_DAMAGE.items()}
        write_portfolio(export, rows=ROWS + number * MORE_ROWS, damage=damage)
        if last:
            with Sandbox(0, DEMO_FAULTS) as api:
                load(data, "sync", export, **settings_for(api))
        else:
            load(data, "quality", export)
    return data


def main() -> None:
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        data = runs(Path(folder))
        [load_folder] = data.glob("2*")
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS, timeout=240_000)
        for name, page, scheme in (
            ("report", load_folder / "report.html", "light"),
            ("quality", load_folder / "quality.html", "light"),
            ("runs", data / "index.html", "dark"),
        ):
            shown = browser.new_page(viewport=SIZE, color_scheme=scheme)
            shown.goto(page.as_uri())
            shown.screenshot(path=IMAGES / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    main()
