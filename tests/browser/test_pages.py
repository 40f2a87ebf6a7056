"""Every page, at a phone's and a desk's width, by day and by night."""

import json
import re

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.unit.test_reports import figure_at

pytestmark = pytest.mark.xdist_group("browser")

PAGES = (
    "mixed/report", "mixed/quality", "clean/report", "clean/quality", "stopped/report",
    "hostile/report", "hostile/quality", "index",
)  # fmt: skip
FOR_THE_NIGHT = ("mixed/report", "mixed/quality", "clean/report", "stopped/report", "index")
"""Pages that show every colour there is."""
WIDTHS = (390, 1440)
SCHEMES = ("light", "dark")


@pytest.fixture
def opened(browser, pages):
    """Opens a page and afterwards insists that it was silent: no request, no console line, no dialog."""
    contexts, noise, asked = [], [], []

    def show(name: str, *, width: int = 1440, scheme: str = "light"):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        context.set_default_timeout(120_000)
        page = context.new_page()
        url = (pages / f"{name}.html").as_uri()
        page.on("console", lambda message: noise.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: noise.append(str(error)))
        page.on("dialog", lambda dialog: (noise.append("dialog"), dialog.dismiss()))
        page.on("request", lambda request: asked.append(request.url) if request.url != url else None)
        page.goto(url)
        return page

    yield show
    for context in contexts:
        context.close()
    assert noise == []
    assert asked == []


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_silent_and_fits(opened, name, scheme):
    page = opened(name, scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert overflow(page, width) == []
    assert page.evaluate("document.scripts.length") == 0


def overflow(page, width: int) -> list[str]:
    """Elements that stick out of the page, other than what may be scrolled by itself."""
    if page.evaluate("document.documentElement.scrollWidth") > width:
        return ["the page itself"]
    return page.evaluate(
        """width => [...document.querySelectorAll('body *')]
            .filter(e => !e.closest('.scroll, svg') && e.getBoundingClientRect().right > width + 1)
            .map(e => e.outerHTML.slice(0, 120))""",
        width,
    )


@pytest.mark.parametrize(
    ("name", "scheme"), [*((name, "light") for name in PAGES), *((name, "dark") for name in FOR_THE_NIGHT)]
)
def test_a_page_has_no_barrier_that_axe_knows(opened, name, scheme):
    page = opened(name, scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    # Nothing but colours is another by night: the other rules were asked by day.
    only = {"runOnly": {"type": "rule", "values": ["color-contrast"]}} if scheme == "dark" else {}
    results = Axe().run(page, options={"resultTypes": ["violations"], **only})
    assert results.response["violations"] == [], results.generate_report()


@pytest.mark.parametrize("name", ["mixed/report", "mixed/quality"])
def test_figures_on_the_page_are_those_of_the_summary(opened, pages, name):
    summary = json.loads((pages / "mixed" / "summary.json").read_bytes())
    shown = opened(name).evaluate(
        """() => [...document.querySelectorAll('data[data-figure]')]
            .filter(e => e.dataset.figure)
            .map(e => [e.dataset.figure, e.textContent])"""
    )
    assert len(shown) >= 20
    for path, text in shown:
        assert int(re.sub(r"\D", "", text)) == figure_at(summary, path), path


def test_both_equations_can_be_added_up_on_the_page(opened):
    terms = opened("mixed/report").evaluate(
        """() => [...document.querySelectorAll('.equation')].map(
            one => [...one.querySelectorAll('data')].map(e => Number(e.value)))"""
    )
    assert len(terms) == 2
    for total, *parts in terms:
        assert total == sum(parts) > 0


def test_the_page_has_landmarks_headings_and_table_scopes(opened):
    page = opened("mixed/report")
    for landmark in ("banner", "navigation", "main", "contentinfo"):
        assert page.get_by_role(landmark).count() == 1, landmark
    assert page.get_by_role("heading", level=1).count() == 1
    assert page.locator("th:not([scope])").count() == 0
    assert page.locator("table:not(:has(caption))").count() == 0
    assert page.locator("section:not(:has(h2))").count() == 0


def test_every_link_leads_somewhere(pages):
    for name in PAGES:
        here = pages / f"{name}.html"
        for href in re.findall(r'<a [^>]*href="([^"]*)"', here.read_text()):
            path, _, anchor = href.partition("#")
            target = here.parent / path if path else here
            assert target.is_file(), (name, href)
            assert not anchor or f'id="{anchor}"' in target.read_text(), (name, href)


def test_the_policy_stops_a_script_that_got_in(browser, pages):
    with browser.new_context() as context:
        context.set_default_timeout(120_000)
        page = context.new_page()
        page.goto((pages / "mixed" / "report.html").as_uri())
        page.evaluate(
            """() => {
                const script = document.createElement('script');
                script.textContent = 'window.reached = true';
                document.body.append(script);
                const image = document.createElement('img');
                image.src = 'https://example.invalid/x.png';
                document.body.append(image);
            }"""
        )
        assert page.evaluate("window.reached") is None
        assert page.evaluate("[...document.images].at(-1).naturalWidth") == 0


def test_paper_is_white_and_shows_what_is_folded(opened):
    page = opened("mixed/quality", scheme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("nav").is_hidden()
    folded = page.locator("details:not([open]) table").first
    assert folded.evaluate("e => e.getBoundingClientRect().height") > 0


def test_keyboard_reaches_the_content_first(opened):
    page = opened("mixed/report")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
