"""The report in a real browser: nothing hostile acts, nothing is loaded, everyone can read it.

Each page comes from a real run of a fixture notebook, so all are marked slow: a kernel starts for each.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from runbook.parameters import Folders
from runbook.runner import Request, run
from runbook.settings import Settings

pytestmark = pytest.mark.slow

FIXTURES = Path(__file__).parents[1] / "fixtures"
FOLDERS = Folders(FIXTURES / "notebooks", FIXTURES / "parameters")
NAMES = ("AllRuns", "Raises", "Hangs", "Hostile")
EVIL = "<script>alert('label')</script><img src=https://evil.example/l.png onerror=alert(1)>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The report of each fixture notebook by its name; run before the browser, which owns the event loop."""
    folder = tmp_path_factory.mktemp("reports")
    found: dict[str, Path] = {}

    def make(name: str) -> None:
        request = Request(name, labels={"symbol": EVIL, EVIL: "x"}, annotations={EVIL: EVIL}, cell_seconds=2)
        found[name] = run(request, folder, folders=FOLDERS, settings=Settings()).report

    for name in NAMES:
        thread = threading.Thread(target=make, args=(name,))
        thread.start()
        thread.join()
    assert set(found) == set(NAMES)
    return found


@contextlib.contextmanager
def opened(browser: Browser, path: Path, **options: Any) -> Iterator[tuple[Page, list[str]]]:
    """The page, and what it did that it should not: dialogs, requests, console lines, errors, frames."""
    done: list[str] = []
    context = browser.new_context(**options)
    page = context.new_page()
    page.on("dialog", lambda dialog: (done.append(f"dialog {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda request: request.url.startswith(("file:", "data:")) or done.append(request.url))
    page.on("console", lambda message: done.append(message.text))
    page.on("pageerror", lambda error: done.append(str(error)))
    page.on("popup", lambda popup: done.append(f"popup {popup.url}"))
    page.goto(path.as_uri())
    yield page, done
    context.close()


@pytest.mark.parametrize("name", NAMES)
def test_nothing_acts_and_nothing_is_loaded(pages: dict[str, Path], browser: Browser, name: str) -> None:
    with opened(browser, pages[name]) as (page, done):
        for details in page.locator("details").all():
            details.evaluate("element => { element.open = true }")
        page.wait_for_load_state("networkidle")
        assert done == []
        assert page.locator("script, iframe, object, embed, form, input, svg, link, base").count() == 0
        handlers = (
            "[...document.querySelectorAll('*')].filter(e => [...e.attributes].some(a => a.name.startsWith('on')))"
        )
        assert page.evaluate(f"{handlers}.length") == 0
        assert page.locator("#verdict").count() == 1


def test_hostile_content_is_inert_without_the_policy_too(
    pages: dict[str, Path], browser: Browser, tmp_path: Path
) -> None:
    """The policy is the second wall: the first has to stand alone."""
    text = pages["Hostile"].read_text()
    start = text.index('<meta http-equiv="Content-Security-Policy"')
    bare = tmp_path / "bare.html"
    bare.write_text(text[:start] + text[text.index(">", start) + 1 :])
    with opened(browser, bare) as (page, done):
        page.wait_for_load_state("networkidle")
        assert done == []
        assert "{{ 7*7 }}" in page.locator("#verdict").inner_text()
        assert "alert(1)" in page.locator("#verdict .sentence").inner_text()
        assert page.locator("main").is_visible()


def test_the_listeners_would_notice(browser: Browser, tmp_path: Path) -> None:
    """Without this, the tests above could pass for want of ears."""
    page_path = tmp_path / "evil.html"
    page_path.write_text("<script>console.log('ran'); alert(1)</script><img src='http://127.0.0.1:9/x.png'>")
    with opened(browser, page_path) as (page, done):
        page.wait_for_load_state("networkidle")
    assert {"ran", "dialog 1", "http://127.0.0.1:9/x.png"} <= set(done)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", NAMES)
def test_no_accessibility_violations(pages: dict[str, Path], browser: Browser, name: str, scheme: str) -> None:
    with opened(browser, pages[name], color_scheme=scheme) as (page, _):
        for details in page.locator("details").all():
            details.evaluate("element => { element.open = true }")
        found = Axe().run(page).response["violations"]
        assert [(v["id"], [node["html"] for node in v["nodes"]]) for v in found] == []


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
@pytest.mark.parametrize("name", NAMES)
def test_no_width_scrolls_the_page_sideways(pages: dict[str, Path], browser: Browser, name: str, width: int) -> None:
    with opened(browser, pages[name], viewport={"width": width, "height": 740}) as (page, _):
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_first_screen_of_a_phone_says_what_and_what_to_do(pages: dict[str, Path], browser: Browser) -> None:
    with opened(browser, pages["AllRuns"], viewport={"width": 390, "height": 844}) as (page, _):
        for text in ("The drawdown is real", "pause trading", "kubectl scale deployment/orchestrator"):
            place = page.get_by_text(text).first.bounding_box()
            assert place is not None
            assert place["y"] + place["height"] <= 844


def test_a_finding_leads_to_its_place(pages: dict[str, Path], browser: Browser) -> None:
    with opened(browser, pages["AllRuns"], viewport={"width": 1280, "height": 500}) as (page, _):
        page.locator("#findings a").first.click()
        assert page.evaluate("document.querySelector(':target') !== null")
        assert page.locator(":target").is_visible()


def test_what_scrolls_is_reached_by_keyboard(pages: dict[str, Path], browser: Browser) -> None:
    with opened(browser, pages["Raises"], viewport={"width": 360, "height": 740}) as (page, _):
        for element in page.locator("pre, .scroll, .chart").all():
            assert element.get_attribute("tabindex") == "0"


def test_print_opens_the_folded_and_hides_the_way_around(pages: dict[str, Path], browser: Browser) -> None:
    with opened(browser, pages["Raises"]) as (page, _):
        page.emulate_media(media="print")
        assert not page.locator(".jump").is_visible()
        assert page.locator(".error pre").is_visible()
