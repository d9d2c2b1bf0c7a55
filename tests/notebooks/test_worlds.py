"""Every notebook in every world: nothing crashes, nothing is called fine that is not known to be.

Generated: notebooks by what lies in notebooks/, incidents by the catalog. The cells run in this process,
through the real session, against real servers; test_runs.py goes through runner, papermill and kernels.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from cryptofunk_demo import incidents
from cryptofunk_demo.platform import Platform
from runbook.outcome import Status
from tests import worlds
from tests.notebooks.conftest import NOTEBOOKS, Investigation, alert_of, incidents_of
from tests.notebooks.inspection import inspect, password_of

SOURCES = {
    "database": "DATABASE_URL",
    "metrics": "PROMETHEUS_URL",
    "cluster": "KUBECONFIG",
    "alertmanager": "ALERTMANAGER_URL",
}
DATA_WORLDS = tuple(worlds.WORLDS)
Environment = dict[str, str]


def incident_for(procedure: str) -> str:
    """The incident that `procedure` is tried with where any would do: its own, else the default."""
    return next(iter(incidents_of(procedure)), incidents.DEFAULT)


def pairs(of: Callable[[str], list[str]]) -> list[tuple[str, str]]:
    """(procedure, incident), ordered so that one platform's tests stand together."""
    return sorted(((name, one) for name in NOTEBOOKS for one in of(name)), key=lambda pair: (pair[1], pair[0]))


@pytest.fixture(scope="module")
def dead(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Addresses of all four sources at which nothing answers."""
    kubeconfig = tmp_path_factory.mktemp("dead") / "kubeconfig"
    kubeconfig.write_text(json.dumps(kubeconfig_of(worlds.dead_url())))
    return {
        "DATABASE_URL": f"{worlds.dead_url('postgresql')}/cryptofunk?user=reader&password=not-for-the-page",
        "PROMETHEUS_URL": worlds.dead_url(),
        "ALERTMANAGER_URL": worlds.dead_url(),
        "KUBECONFIG": str(kubeconfig),
    }


def kubeconfig_of(server: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": "cluster-token-not-for-the-page"}}],
    }


@pytest.fixture
def look(investigate: Callable[..., Investigation]) -> Callable[..., Investigation]:
    """Runs a notebook in a world and checks all that holds in each of them."""

    def run(
        procedure: str,
        platform: Platform | None,
        environment: Environment,
        alerts: list[dict[str, Any]] | None = None,
        **given: Any,
    ) -> Investigation:
        own = alert_of(platform, procedure)
        found = investigate(procedure, environment, alerts=alerts or ([own] if own else None), **given)
        try:
            inspect(found)
            hidden = [password_of(environment.get("DATABASE_URL", "")), "not-for-the-page"]
            everything = json.dumps([data for data, _ in found.outputs])
            assert not [secret for secret in hidden if secret and secret in everything], "a secret is shown"
        except AssertionError as error:
            error.add_note(found.describe())
            raise
        return found

    return run


def source_state(found: Investigation, name: str) -> dict[str, Any]:
    (state,) = [state for state in found.outcome["sources"] if state["name"] == name]
    return state


@pytest.mark.parametrize("procedure", NOTEBOOKS)
def test_nothing_configured(look: Callable[..., Investigation], procedure: str) -> None:
    found = look(procedure, None, {})
    asked = [state for state in found.outcome["sources"] if state["status"] != "not_asked"]
    assert asked
    for state in asked:
        assert state["status"] == "unknown"
        assert SOURCES[state["name"]] in state["reason"]
    assert not [one for one in found.findings if one["status"] in ("warning", "critical")]
    assert found.outcome["status"] == "unknown"


@pytest.mark.parametrize("procedure", NOTEBOOKS)
def test_everything_down(look: Callable[..., Investigation], dead: Environment, procedure: str) -> None:
    found = look(procedure, None, dead)
    assert {state["status"] for state in found.outcome["sources"]} <= {"unknown", "not_asked"}
    assert not [one for one in found.findings if one["status"] in ("warning", "critical")]
    assert found.outcome["status"] == "unknown"


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(("procedure", "incident"), pairs(lambda name: [incident_for(name)]))
def test_one_source_down(
    look: Callable[..., Investigation],
    platforms: Callable[..., Platform],
    dead: Environment,
    procedure: str,
    incident: str,
    source: str,
) -> None:
    platform, variable = platforms(incident), SOURCES[source]
    found = look(procedure, platform, platform.environment | {variable: dead[variable]})
    state = source_state(found, source)
    assert state["status"] in ("unknown", "not_asked")
    if state["status"] == "unknown":
        assert [one for one in found.findings if one["status"] == "unknown"]
        assert found.outcome["status"] != "ok"
    answers = {answer.source for answer in found.book.evidence.answers if answer.status == "ok"}
    assert source not in answers


@pytest.mark.parametrize(("procedure", "incident"), pairs(incidents_of))
def test_incident_is_named(
    look: Callable[..., Investigation], platforms: Callable[..., Platform], procedure: str, incident: str
) -> None:
    platform = platforms(incident)
    found = look(procedure, platform, platform.environment)
    assert found.names(platform.incident.cause), found.describe()
    assert found.outcome["status"] in ("warning", "critical")
    unknown = [one for one in found.findings if one["status"] in ("unknown", "skipped")]
    assert unknown == [], found.describe()
    assert [one for one in found.outcome["checklist"] if "not checked" in one["answer"]] == []


@pytest.mark.parametrize("schema", ["documented"])
@pytest.mark.parametrize(("procedure", "incident"), pairs(lambda name: incidents_of(name)[:1]))
def test_incident_is_named_on_the_documented_schema(
    look: Callable[..., Investigation], platforms: Callable[..., Platform], procedure: str, incident: str, schema: str
) -> None:
    platform = platforms(incident, schema)
    found = look(procedure, platform, platform.environment)
    assert found.names(platform.incident.cause), found.describe()


@pytest.mark.parametrize("schema", ["platform", "documented"])
@pytest.mark.parametrize(("procedure", "incident"), pairs(lambda name: ["healthy"]))
def test_healthy(
    look: Callable[..., Investigation], platforms: Callable[..., Platform], procedure: str, incident: str, schema: str
) -> None:
    platform = platforms(incident, schema)
    found = look(procedure, platform, platform.environment)
    assert not [one for one in found.findings if one["status"] == "critical"], found.describe()
    assert not [one for one in found.findings if one["status"] in ("unknown", "skipped")], found.describe()
    assert found.outcome["status"] == "ok", found.describe()


@pytest.mark.parametrize(("procedure", "incident"), pairs(lambda name: [incident_for(name)]))
def test_labels_missing(
    look: Callable[..., Investigation], platforms: Callable[..., Platform], procedure: str, incident: str
) -> None:
    platform = platforms(incident)
    alert = {**platform.alert, "labels": {"alertname": procedure}, "annotations": {}, "generatorURL": ""}
    look(procedure, platform, platform.environment, [alert])


@pytest.mark.parametrize("world", DATA_WORLDS)
@pytest.mark.parametrize("procedure", NOTEBOOKS)
def test_data(
    look: Callable[..., Investigation], platforms: Callable[..., Platform], procedure: str, world: str
) -> None:
    platform = platforms(incidents.DEFAULT, world=world)
    alerts = None
    if world == "hostile":
        alert = worlds.hostile_alert(platform)
        alerts = [{**alert, "labels": {**alert["labels"], "alertname": procedure}}]
    found = look(procedure, platform, platform.environment, alerts)
    if world == "empty":
        assert found.outcome["status"] != "ok"
    if world == "huge":
        assert max(answer.rows for answer in found.book.evidence.answers) <= 5_000


def by_id(found: Investigation) -> dict[str, dict[str, Any]]:
    return {one["id"]: one for one in found.findings}


@pytest.mark.parametrize("world", ["several-sessions"])
def test_a_younger_empty_session_hides_nothing(
    look: Callable[..., Investigation], platforms: Callable[..., Platform], world: str
) -> None:
    platform = platforms(incidents.DEFAULT, world=world)
    found = look("PositionLimitExceeded", platform, platform.environment)
    exposure = by_id(found)["exposure.current"]
    assert "holds no position" not in exposure["title"], found.describe()
    assert "4 sessions are open, each with its own value and limits" in exposure["detail"], found.describe()
    assert "Over a limit: LIVE ETHUSDT, LIVE BTCUSDT, PAPER SOLUSDT" in exposure["detail"], found.describe()
    assert by_id(found)["exposure.limits"]["title"].endswith("by default")
    openers = by_id(found)["exposure.openers"]
    assert "by inference, opened by trend-follower" in openers["title"], found.describe()
    assert "up to 7 min before the entry" in openers["detail"], found.describe()
    assert "Also over a limit: LIVE BTCUSDT, PAPER SOLUSDT" in found.outcome["verdict"], found.describe()
    session = by_id(look("MaxDrawdownExceeded", platform, platform.environment))["sessions.latest"]
    assert "The open LIVE session" in session["title"]
    assert "PAPER SOLUSDT" in session["detail"]


@pytest.mark.parametrize("world", ["few-deployed"])
def test_agents_that_were_never_deployed_are_not_down(
    look: Callable[..., Investigation], platforms: Callable[..., Platform], world: str
) -> None:
    platform = platforms(incidents.DEFAULT, world=world)
    found = look("AgentDown", platform, platform.environment)
    assert by_id(found)["agents.status"]["status"] == "ok", found.describe()
    assert "affected" not in found.conclusion.lower(), found.describe()
    assert "Not deployed" in by_id(found)["agents.side_by_side"]["detail"], found.describe()


@pytest.mark.parametrize("world", ["hourly-candles"])
def test_hourly_candles_under_another_spelling_are_prices(
    look: Callable[..., Investigation], platforms: Callable[..., Platform], world: str
) -> None:
    platform = platforms(incidents.DEFAULT, world=world)
    found = look("PositionLimitExceeded", platform, platform.environment)
    assert by_id(found)["exposure.current"]["status"] != "unknown", found.describe()
    assert "by 1 h candles" in by_id(found)["exposure.current"]["detail"], found.describe()


@pytest.mark.parametrize("procedure", NOTEBOOKS)
@pytest.mark.parametrize("world", ["no-numbers", "no-prices", "young"])
def test_nothing_is_ok_that_rests_on_what_is_none(
    look: Callable[..., Investigation], platforms: Callable[..., Platform], procedure: str, world: str
) -> None:
    platform = platforms("healthy", world=world)
    found = look(procedure, platform, platform.environment)
    for finding in found.book.findings:
        if finding.status is Status.OK:
            assert not [answer.missing for answer in finding.answers if answer.missing], finding.title
            assert "as far as" not in finding.title.lower()
            assert "n/a" not in finding.title, finding.title


def test_a_fill_that_is_none_makes_no_drawdown(
    look: Callable[..., Investigation], platforms: Callable[..., Platform]
) -> None:
    """One NaN fill once made 16.9 % of 12.3 %, with "Trust the fills"."""
    platform = platforms("flash-crash", world="no-numbers")
    found = look("MaxDrawdownExceeded", platform, platform.environment)
    fills = by_id(found)["drawdown.from_fills"]
    assert (fills["status"], "1 of 209 fills has no usable number" in fills["title"]) == ("unknown", True)
    assert "Trust the fills" not in found.describe()
    assert "12.3 %" in found.outcome["verdict"]
    assert by_id(found)["sessions.latest"]["title"].startswith("The open LIVE session")
    assert by_id(found)["sessions.paused"]["status"] == "warning"


@pytest.mark.parametrize("procedure", ["MaxDrawdownExceeded", "PositionLimitExceeded", "TradingSessionFailure"])
def test_without_a_price_nothing_is_worth_what_was_paid(
    look: Callable[..., Investigation], platforms: Callable[..., Platform], procedure: str
) -> None:
    platform = platforms("flash-crash", world="no-prices")
    found = look(procedure, platform, platform.environment)
    positions = by_id(found)["exposure.open_positions"]
    assert "worth what is not known" in positions["title"]
    assert "There is no usable price of BTCUSDT" in positions["detail"]
    assert "0.00 USDT at the last closes" not in found.describe()
    if procedure == "MaxDrawdownExceeded":
        assert by_id(found)["drawdown.from_fills"]["status"] == "unknown"
        assert by_id(found)["drawdown.agreement"]["title"].startswith(
            "Performance_metrics and gauge agree: drawdown 12.3 %"
        )
    if procedure == "PositionLimitExceeded":
        assert by_id(found)["exposure.current"]["status"] == "unknown"
        assert found.outcome["status"] == "unknown"


@pytest.mark.parametrize("procedure", ["MaxDrawdownExceeded", "PositionLimitExceeded"])
def test_candles_of_an_hour_under_another_spelling_are_prices(
    look: Callable[..., Investigation], platforms: Callable[..., Platform], procedure: str
) -> None:
    platform = platforms("healthy", world="hourly")
    found = look(procedure, platform, platform.environment)
    positions = by_id(found)["exposure.open_positions"]
    assert positions["status"] == "ok"
    assert "XRPUSDT by 1 h candles and candles of XRP/USDT" in positions["detail"]
    if procedure == "MaxDrawdownExceeded":
        assert by_id(found)["drawdown.from_fills"]["status"] == "ok"
        assert by_id(found)["drawdown.agreement"]["title"].startswith("All three measures agree")


def test_heartbeats_from_the_future_are_not_agents_that_run(
    look: Callable[..., Investigation], platforms: Callable[..., Platform]
) -> None:
    platform = platforms("healthy", world="future")
    found = look("AgentDown", platform, platform.environment)
    assert by_id(found)["agents.status"]["status"] == "unknown"
    assert "from the future" in by_id(found)["agents.status"]["title"]
    assert found.outcome["status"] == "unknown"


def test_an_unknown_metric_is_not_zero(look: Callable[..., Investigation], platforms: Callable[..., Platform]) -> None:
    platform = platforms("healthy")
    book = look("SystemHealth", platform, platform.environment).book
    unknown = book.promql("no_such_metric")
    assert (unknown.status, unknown.title) == (Status.UNKNOWN, "PromQL: no rows")
    assert "Prometheus knows no no_such_metric" in unknown.detail
    known = book.promql('cryptofunk_total_pnl{job="nobody"}')
    assert "Prometheus knows cryptofunk_total_pnl, but has no sample that fits" in known.detail
    assert book.promql("cryptofunk_total_pnl").status is Status.OK
    assert book.sql("SELECT 1 WHERE false").status is Status.UNKNOWN


@contextmanager
def hanging_metrics() -> Iterator[Environment]:
    with worlds.hanging() as port:
        yield {"PROMETHEUS_URL": f"http://127.0.0.1:{port}", "RUNBOOK_QUERY_SECONDS": "1"}


@pytest.mark.parametrize(("procedure", "incident"), pairs(lambda name: [incident_for(name)]))
def test_metrics_hanging(
    look: Callable[..., Investigation], platforms: Callable[..., Platform], procedure: str, incident: str
) -> None:
    platform = platforms(incident)
    with hanging_metrics() as hanging:
        found = look(procedure, platform, platform.environment | hanging)
    assert source_state(found, "metrics")["status"] in ("unknown", "not_asked")
    # Questions under way at the same time wait side by side; those after them are not asked again.
    seconds = sorted(answer.seconds for answer in found.book.evidence.answers if answer.source == "metrics")
    later = [answer for answer in found.book.evidence.answers if "not asked again" in answer.reason]
    assert all(answer.seconds < 1 for answer in later)
    assert not seconds or seconds[-1] >= 1


@pytest.mark.parametrize(("procedure", "incident"), pairs(lambda name: [incident_for(name)]))
def test_recorded_evidence_replays_to_the_same_findings(
    look: Callable[..., Investigation],
    platforms: Callable[..., Platform],
    tmp_path: Path,
    procedure: str,
    incident: str,
) -> None:
    platform = platforms(incident)
    own = alert_of(platform, procedure)
    live = look(procedure, platform, platform.environment | {"RUNBOOK_RECORD": str(tmp_path)})
    replayed = look(procedure, None, {"RUNBOOK_EVIDENCE": str(tmp_path)}, [own] if own else None)

    def without_evidence(found: Investigation) -> list[dict[str, Any]]:
        how = ("evidence", "answers")
        return [{name: value for name, value in one.items() if name not in how} for one in found.findings]

    assert without_evidence(replayed) == without_evidence(live)
    assert replayed.outcome["verdict"] == live.outcome["verdict"]
    assert {state["status"] for state in replayed.outcome["sources"]} <= {"recorded", "not_asked"}
    assert sorted(replayed.of("image/svg+xml")) == sorted(live.of("image/svg+xml"))
    text = "".join(path.read_text() for path in tmp_path.iterdir())
    assert (urlsplit(platform.environment["DATABASE_URL"]).password or "") not in text
