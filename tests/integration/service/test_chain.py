"""The whole way: a real Prometheus rule, two real Alertmanagers, webhook, queue, worker, page, Slack double, SMTP.

Slow because the rule has to fire and the group has to wait.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import service_kit as kit
from aiosmtpd.controller import Controller
from service_kit import Process, free_port, query, wait_for
from service_postgres import Early, Postgres

DEPLOY = kit.ROOT / "deploy"


def amtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["amtool", *arguments], capture_output=True, text=True)


def test_the_examples_pass_amtool_and_promtool() -> None:
    checked = amtool("check-config", str(DEPLOY / "alertmanager" / "runbook-receiver.yml"))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    rules = DEPLOY / "prometheus" / "runbook-rules.yml"
    checked = subprocess.run(["promtool", "check", "rules", str(rules)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_rules_name_metrics_that_exist(made: Any) -> None:
    import re

    from runbook.service.metrics import Metrics

    named = set(re.findall(r"runbook_\w+", (DEPLOY / "prometheus" / "runbook-rules.yml").read_text()))
    metrics = Metrics(made)
    metrics.webhook("accepted", 0.01)
    kit.do_all(made)
    offered = metrics.text().decode()
    assert [name for name in named if f"# TYPE {name} " not in offered] == []


class _Slack(http.server.BaseHTTPRequestHandler):
    posted: list[dict[str, Any]] = []

    def do_POST(self) -> None:
        self.posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *arguments: Any) -> None:
        return


class _Post:
    def __init__(self) -> None:
        self.mails: list[bytes] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        self.mails.append(envelope.content)
        return "250 OK"


@contextlib.contextmanager
def running(*command: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        child = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        yield child
    finally:
        child.kill()
        child.wait()


RULE = """
groups:
  - name: chain
    interval: 1s
    rules:
      - alert: MaxDrawdownExceeded
        expr: absent(no_such_metric) {operator} 1
        labels: {{severity: critical, symbol: BTC}}
        annotations: {{summary: "Drawdown <b>over</b> the limit"}}
"""


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_from_a_rule_to_a_page_and_back_to_silence(url: str, tmp_path: Path) -> None:
    kit.project(tmp_path / "project")
    slack = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Slack)
    threading.Thread(target=slack.serve_forever, args=(0.05,), daemon=True).start()
    post, smtp_port = _Post(), free_port()
    smtp = Controller(post, hostname="127.0.0.1", port=smtp_port)
    smtp.start()
    web = Process(
        tmp_path,
        url,
        "serve",
        RUNBOOK_WEBHOOK_TOKEN="hook-token",
        SLACK_WEBHOOK_URL=f"http://127.0.0.1:{slack.server_port}/hook",
        SMTP_HOST="127.0.0.1",
        SMTP_PORT=str(smtp_port),
        SMTP_FROM="runbook@example.com",
        ALERT_EMAIL_TO="team@example.com",
        RUNBOOK_BASE_URL="http://127.0.0.1",
    )
    with contextlib.ExitStack() as stack:
        stack.callback(smtp.stop)
        stack.callback(slack.server_close)
        stack.callback(slack.shutdown)
        made = stack.enter_context(kit.context(url, tmp_path))
        stack.enter_context(web)
        rules, prometheus = _chain(stack, tmp_path, web.port)
        wait_for(lambda: query(made, "SELECT 1 FROM runbook.runs WHERE state = 'complete'"), 90)
        wait_for(lambda: _Slack.posted and post.mails, 30)
        run = query(made, "SELECT * FROM runbook.runs")[0]
        page = web.get(f"/reports/{run['run_id']}")[1].decode()
        assert "14.2" in page
        assert "<b>over</b>" not in page
        assert "14.2" in json.dumps(_Slack.posted[0])
        assert b"14.2" in post.mails[0]
        # Both replicas send, and send again; the second one, too, has told us before the end.
        wait_for(lambda: b'result="repeated"' in web.get("/metrics")[1], 60)
        rules.write_text(RULE.format(operator=">"))
        prometheus.send_signal(signal.SIGHUP)
        wait_for(lambda: query(made, "SELECT 1 FROM runbook.incidents WHERE closed_how = 'resolved'"), 120)
        wait_for(lambda: len(_Slack.posted) == 2, 30)
        assert len(query(made, "SELECT 1 FROM runbook.incidents")) == 1
        assert len(query(made, "SELECT 1 FROM runbook.runs")) == 1
        assert "Resolved after" in json.dumps(_Slack.posted[1])


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_alertmanager_brings_what_it_could_not_when_the_database_is_back(tmp_path: Path) -> None:
    """PostgreSQL is stopped when the alert comes: 503. Alertmanager's own retry makes one report of it.

    First `serve` is started before its database ever ran, then the database is stopped below it. Slow because
    Alertmanager waits between its attempts.
    """
    kit.project(tmp_path / "project")
    database, own = Postgres(tmp_path / "postgres"), free_port()
    web = Early(tmp_path, database.url, "serve", RUNBOOK_WEBHOOK_TOKEN="hook-token")
    with contextlib.ExitStack() as stack:
        stack.callback(database.stop)
        stack.enter_context(web)
        assert web.get("/readyz")[0] == 503
        stack.enter_context(_alertmanager(tmp_path, _receiver(tmp_path, web.port), own))
        wait_for(lambda: _status(own, "/-/ready") == 200)
        _refused_then_reported(database, web, own, "MaxDrawdownExceeded", tmp_path, 1)
        database.stop()
        _refused_then_reported(database, web, own, "AgentDown", tmp_path, 2)


def _refused_then_reported(
    database: Postgres, web: Process, alertmanager: int, name: str, folder: Path, incidents: int
) -> None:
    """The alert `name` comes while the database is stopped, and ends as one report of one incident more."""
    failed, unavailable = _failures(alertmanager), _unavailable(web)
    done = amtool(f"--alertmanager.url=http://127.0.0.1:{alertmanager}", "alert", "add", name, "severity=critical")
    assert done.returncode == 0, done.stderr
    wait_for(lambda: _failures(alertmanager) > failed, 90)
    wait_for(lambda: _unavailable(web) > unavailable, 90)
    database.start()
    with kit.context(database.url, folder) as made:
        ended = "SELECT 1 FROM runbook.runs WHERE alertname = %s AND state = 'complete'"
        wait_for(lambda: query(made, ended, name), 120)
        # It goes on sending what still fires: known by now.
        wait_for(lambda: query(made, "SELECT 1 FROM runbook.incidents WHERE title = %s AND repeats >= 1", name), 120)
        assert len(query(made, "SELECT 1 FROM runbook.incidents")) == incidents
        assert [run["alertname"] for run in query(made, "SELECT * FROM runbook.runs WHERE alertname = %s", name)] == [
            name
        ]
        assert len(query(made, "SELECT 1 FROM runbook.runs")) == incidents


def _status(port: int, path: str) -> int:
    try:
        return httpx.get(f"http://127.0.0.1:{port}{path}").status_code
    except httpx.HTTPError:
        return 0


def _figure(text: str, name: str) -> float:
    """A sample of Prometheus's text format by its name with labels; 0 where there is none."""
    return next((float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(f"{name} ")), 0.0)


def _failures(port: int) -> float:
    text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    return _figure(text, 'alertmanager_notification_requests_failed_total{integration="webhook"}')


def _unavailable(web: Process) -> float:
    return _figure(web.get("/metrics")[1].decode(), 'runbook_webhook_messages_total{result="unavailable"}')


def _chain(stack: contextlib.ExitStack, folder: Path, port: int) -> tuple[Path, subprocess.Popen[bytes]]:
    """Prometheus with the rule that fires, and two Alertmanagers that know nothing of each other."""
    config = _receiver(folder, port)
    ports = [free_port(), free_port()]
    for own in ports:
        stack.enter_context(_alertmanager(folder, config, own))
    rules = folder / "rules.yml"
    rules.write_text(RULE.format(operator="=="))
    targets = json.dumps([f"127.0.0.1:{own}" for own in ports])
    (folder / "prometheus.yml").write_text(
        f"global: {{evaluation_interval: 1s}}\nrule_files: [{rules}]\n"
        f"alerting: {{alertmanagers: [{{static_configs: [{{targets: {targets}}}]}}]}}\n"
    )
    prometheus = stack.enter_context(
        running(
            "prometheus",
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{free_port()}",
            "--rules.alert.resend-delay=1s",
            log=folder / "prometheus.log",
        )
    )
    return rules, prometheus


def _receiver(folder: Path, port: int) -> Path:
    """The example in deploy/ as Alertmanager's configuration, in a hurry and for the service on `port`."""
    (folder / "token").write_text("hook-token")
    config = folder / "alertmanager.yml"
    example = (DEPLOY / "alertmanager" / "runbook-receiver.yml").read_text()
    for ours, theirs in {
        "group_wait: 10s": "group_wait: 1s",
        "group_interval: 1m": "group_interval: 2s",
        "repeat_interval: 4h": "repeat_interval: 3s",
        "http://runbook:8088": f"http://127.0.0.1:{port}",
        "/etc/alertmanager/runbook-token": str(folder / "token"),
    }.items():
        assert ours in example
        example = example.replace(ours, theirs)
    config.write_text(example)
    return config


def _alertmanager(folder: Path, config: Path, own: int) -> contextlib.AbstractContextManager[Any]:
    """An Alertmanager on the port `own` that knows of no other."""
    return running(
        "prometheus-alertmanager",
        f"--config.file={config}",
        f"--storage.path={folder / f'am{own}'}",
        f"--web.listen-address=127.0.0.1:{own}",
        "--cluster.listen-address=",
        log=folder / f"am{own}.log",
    )
