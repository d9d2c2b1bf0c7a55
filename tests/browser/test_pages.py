"""The service's pages in Chromium: they look right at every size, follow a running report, obey keys and axe."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import service_kit as kit
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright
from service_kit import Process, alert, message, query, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, postgres: Any, template_database: Callable[..., str]
) -> Iterator[tuple[Process, Any]]:
    """A service with an open critical incident, a warning with hostile text, a storm, and one that resolved."""
    from runbook import embedded

    template = template_database("service_schema", kit.schema)
    name = f"service_pages_{secrets.token_hex(4)}"  # one for each process that runs some of these tests
    url = embedded.create_database(postgres, name, template)
    folder = tmp_path_factory.mktemp("pages")
    kit.project(folder / "project", slow_seconds=6)
    web = Process(folder, url, "serve", "--concurrency", "1", RUNBOOK_WEBHOOK_TOKEN="hook", RUNBOOK_STORM_RUNS="3")
    with web, kit.context(url, folder) as made:
        hook = {"Authorization": "Bearer hook"}
        for number in range(6):
            web.post(message(alert("HighErrorRate", f"s{number}", "warning"), key=f"s{number}"), **hook)
        hostile = alert("<img src=x onerror=alert(1)>", "h", "warning", pod="<script>alert(1)</script>" * 20)
        web.post(message(hostile, key="hostile"), **hook)
        web.post(message(alert("AgentDown", "r", "warning"), key="r"), **hook)
        web.post(kit.resolved(alert("AgentDown", "r", "warning"), key="r"), **hook)
        web.post(message(alert(), key="c"), **hook)
        wait_for(lambda: not query(made, "SELECT 1 FROM runbook.runs WHERE state IN ('queued', 'running')"), 120)
        yield web, made
    embedded.drop_database(postgres, name)


@pytest.fixture
def page(chromium: Browser, served: tuple[Process, Any]) -> Iterator[Page]:
    context = chromium.new_context(
        base_url=f"http://127.0.0.1:{served[0].port}", viewport={"width": 1280, "height": 900}
    )
    opened = context.new_page()
    # Chromium advises a name beside a lone password; that is no fault.
    faults: list[str] = []
    opened.on("console", lambda said: faults.append(said.text) if said.type in ("error", "warning") else None)
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("dialog", lambda dialog: faults.append("a dialog") or dialog.dismiss())  # type: ignore[func-returns-value]
    outside: list[str] = []
    opened.on(
        "request",
        lambda asked: None if asked.url.startswith(("http://127.0.0.1", "data:")) else outside.append(asked.url),
    )
    yield opened
    # axe measures with inline styles of its own; that our pages have none is tested in test_app.py.
    expected = (
        "Password forms",
        "inline style",
        "ERR_INTERNET_DISCONNECTED",
    )  # the last: where a test takes us offline
    assert [fault for fault in faults if not any(said in fault for said in expected)] == []
    assert outside == []
    context.close()


def paths(made: Any) -> list[str]:
    incidents = query(
        made,
        "SELECT min(id) FILTER (WHERE kind = 'storm') AS storm,"
        " min(id) FILTER (WHERE severity = 'critical') AS critical,"
        " min(id) FILTER (WHERE title LIKE '<img%%') AS hostile, min(id) FILTER (WHERE closed_at IS NOT NULL) AS closed"
        " FROM runbook.incidents",
    )[0]
    assert all(incidents.values())
    return [
        "/",
        "/reports",
        "/?q=nothing-like-it",
        "/incidents/999999",
        *(f"/incidents/{i}" for i in incidents.values()),
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_breaks_a_rule_of_axe_or_scrolls_sideways(page: Page, served: tuple[Process, Any], scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    for path in paths(served[1]):
        for width in (390, 1280):
            page.set_viewport_size({"width": width, "height": 900})
            if path == "/incidents/999999":
                continue
            page.goto(path)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        found = Axe().run(page)
        assert found.violations_count == 0, (path, scheme, found.generate_report())


def test_a_hostile_alert_is_shown_as_text(page: Page, served: tuple[Process, Any]) -> None:
    page.goto(paths(served[1])[6])
    assert page.locator("h1").inner_text() == "<img src=x onerror=alert(1)>"
    assert page.locator("main img").count() == 0


def test_the_storms_page_lists_what_was_not_run(page: Page, served: tuple[Process, Any]) -> None:
    page.goto(paths(served[1])[4])
    assert page.get_by_role("heading", name="Not run singly: 3").is_visible()
    assert page.get_by_text("Not run singly: many HighErrorRate alerts came at once").count() == 3


def test_keys_search_and_move(page: Page) -> None:
    page.goto("/")
    page.keyboard.press("j")
    first = page.evaluate("document.activeElement.textContent")
    page.keyboard.press("j")
    assert page.evaluate("document.activeElement.textContent") != first
    page.keyboard.press("k")
    assert page.evaluate("document.activeElement.textContent") == first
    page.keyboard.press("Enter")
    page.wait_for_url("**/incidents/*")
    page.goto("/")
    page.keyboard.press("/")
    page.keyboard.type("MaxDrawdown")
    page.keyboard.press("Enter")
    page.wait_for_url("**/?q=MaxDrawdown*")
    assert page.locator(".card").count() == 1


def test_a_report_is_sandboxed_and_readable(page: Page, served: tuple[Process, Any]) -> None:
    run = query(served[1], "SELECT run_id FROM runbook.runs WHERE severity = 'critical'")[0]["run_id"]
    page.goto(f"/reports/{run}")
    assert page.evaluate("window.origin") == "null"
    assert page.get_by_text("The drawdown is real: 14.2 %").first.is_visible()


def test_a_running_report_is_followed_until_it_is_there(page: Page, served: tuple[Process, Any]) -> None:
    web, made = served
    web.post(message(alert("DiskSpaceWarning", "slow", "warning"), key="slow"), Authorization="Bearer hook")
    run = wait_for(
        lambda: query(
            made,
            "SELECT run_id FROM runbook.runs"
            " WHERE alertname = 'DiskSpaceWarning' AND progress::text LIKE '%%finding%%'",
        )
    )[0]["run_id"]
    page.goto(f"/reports/{run}")
    page.get_by_text("Drawdown is 14.2 %, over the threshold").wait_for()
    assert page.get_by_text("live", exact=True).is_visible()
    page.locator("main.site").wait_for(state="detached", timeout=60_000)
    assert page.get_by_text("The drawdown is real: 14.2 %").first.is_visible()


def test_run_again_and_close_need_the_token(page: Page, served: tuple[Process, Any]) -> None:
    web, made = served
    web.post(message(alert("AgentDown", "act", "warning"), key="act"), Authorization="Bearer hook")
    number = query(made, "SELECT max(id) AS id FROM runbook.incidents")[0]["id"]
    wait_for(lambda: query(made, f"SELECT 1 FROM runbook.runs WHERE incident_id = {number} AND state = 'complete'"))
    page.goto(f"/incidents/{number}")
    page.get_by_label("Token").fill("hook")
    page.get_by_role("button", name="Run again").click()
    page.get_by_text("It runs again.").wait_for()
    wait_for(
        lambda: len(query(made, f"SELECT 1 FROM runbook.runs WHERE incident_id = {number} AND state = 'complete'")) == 2
    )
    page.goto(f"/incidents/{number}")
    assert page.get_by_text("Nothing changed.").is_visible()
    page.get_by_label("Token").fill("hook")
    page.get_by_role("button", name="Close the incident").click()
    page.get_by_text("The incident is closed.").wait_for()


HOOK = {"Authorization": "Bearer hook"}
IDLE = "SELECT 1 FROM runbook.runs WHERE state IN ('queued', 'running')"


def test_an_alert_appears_on_the_open_idle_page_and_leaves_the_search_alone(
    page: Page, served: tuple[Process, Any]
) -> None:
    web, made = served
    wait_for(lambda: not query(made, IDLE))
    page.goto("/")
    page.get_by_text("0 running, 0 waiting").wait_for()
    page.locator("#q").press_sequentially("half a wo")
    web.post(message(alert("HighCPUUsage", "live", "warning"), key="live"), **HOOK)
    number = query(made, "SELECT max(id) AS id FROM runbook.incidents")[0]["id"]
    page.locator(f"a.card-title[href='/incidents/{number}']").wait_for()
    wait_for(lambda: not query(made, IDLE))
    page.locator(f"li[data-key='i{number}'] a", has_text="Report").wait_for()
    page.keyboard.type("rd")  # where it was: the page did not load again
    assert page.locator("#q").input_value() == "half a word"
    # And once more after the queue ran empty: that is where it used to stop.
    web.post(message(alert("MaxDrawdownExceeded", "live2", "warning"), key="live2"), **HOOK)
    page.locator(f"a.card-title[href='/incidents/{number + 1}']").wait_for()
    assert page.locator("#q").input_value() == "half a word"


def test_an_open_incident_follows_and_keeps_what_is_unfolded_and_focused(
    page: Page, served: tuple[Process, Any]
) -> None:
    web, made = served
    pods = [alert("HighMemoryUsage", f"pod{number}", "warning", pod=f"pod-{number}") for number in range(12)]
    web.post(message(*pods, key="pods"), **HOOK)
    number = query(made, "SELECT max(id) AS id FROM runbook.incidents")[0]["id"]
    wait_for(lambda: not query(made, IDLE))
    page.goto(f"/incidents/{number}")
    page.get_by_text("2 more alerts").click()
    page.get_by_label("Token").fill("hal")
    web.post(message(*pods, alert("HighMemoryUsage", "late", "warning", pod="late"), key="pods"), **HOOK)
    page.get_by_text("3 more alerts").wait_for()
    assert page.locator("#more-alerts").get_attribute("open") is not None
    assert page.evaluate("document.activeElement.id") == "token"
    web.post(kit.resolved(*pods, alert("HighMemoryUsage", "late", "warning", pod="late"), key="pods"), **HOOK)
    page.get_by_role("button", name="Close the incident").wait_for(state="detached")
    assert page.get_by_label("Token").input_value() == "hal"


def test_a_service_that_is_gone_is_said_and_said_no_more_when_it_is_back(page: Page) -> None:
    page.goto("/")
    page.context.set_offline(True)
    page.get_by_text("UTC; the service does not answer.").wait_for()
    said = page.locator("#stale").inner_text()
    assert re.fullmatch(r"Last updated \d\d:\d\d:\d\d UTC; the service does not answer\.", said)
    assert not page.locator("#live").is_visible()
    page.context.set_offline(False)
    page.locator("#live").wait_for()
    assert page.locator("#stale").inner_text() == ""


def test_a_name_that_turns_the_reading_direction_leaves_our_text_in_its_place(
    page: Page, served: tuple[Process, Any]
) -> None:
    web, made = served
    for key, name in (("rtl", "\u202egpj.exe \u2066abc"), ("rtl2", "\u2069\u202egpj.exe")):
        web.post(message(alert(name, key, "warning"), key=key), **HOOK)
        number = query(made, "SELECT max(id) AS id FROM runbook.incidents")[0]["id"]
        page.goto(f"/incidents/{number}")
        name_box = page.locator(".alerts li strong").bounding_box()
        time_box = page.locator(".alerts li time").bounding_box()
        assert name_box
        assert time_box
        assert time_box["x"] >= name_box["x"] + name_box["width"], name


def test_a_phone_shows_the_whole_axis_and_how_long_a_run_took(page: Page, served: tuple[Process, Any]) -> None:
    page.set_viewport_size({"width": 390, "height": 900})
    page.goto(paths(served[1])[5])
    for shown in (page.locator(".plot rect").last, page.locator(".runs td", has_text=" s").last):
        box = shown.bounding_box()
        assert box
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
    assert page.get_by_text("Began earlier").is_visible()
