"""The commands of the service: serve, worker, reports."""

from __future__ import annotations

import json
import tempfile
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runbook.errors import InputError

if TYPE_CHECKING:
    from runbook.history.rows import Run
    from runbook.service.context import Context

_DAYS_MAX, _RUNS_MAX = 36_500, 1_000_000_000
DAYS = typer.Option(metavar="DAYS", help="With --prune: keep closed incidents so long, 0 none; RUNBOOK_KEEP_DAYS.")
RUNS = typer.Option(metavar="N", help="With --prune: keep at most so many runs, 0 none; RUNBOOK_KEEP_RUNS.")


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command(epilog="Example: RUNBOOK_WEBHOOK_TOKEN=… RUNBOOK_READ_TOKEN=… runbook serve --host 0.0.0.0")(serve)
    app.command(epilog="Example: RUNBOOK_DATABASE_URL=… runbook worker --concurrency 4")(worker)
    app.command(epilog="Example: runbook reports MaxDrawdown --status critical")(reports)


def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="The port to listen on; 0 takes a free one.")] = 8088,
    no_worker: Annotated[bool, typer.Option("--no-worker", help="Only receive and show; run no reports here.")] = False,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Reports that run at once.")] = 2,
) -> None:
    """Receive Alertmanager's webhook, run the reports and show them."""
    from runbook import settings
    from runbook.service import logs
    from runbook.service.auth import gate_for
    from runbook.service.context import opened
    from runbook.service.serve import serve as run_server

    read = settings.load()
    gate = gate_for(read, host)
    logs.set_up()
    logs.warn_of(read)

    def tell(url: str) -> None:
        typer.echo(f"Serving {url}")
        if gate.is_loopback and not (gate.read_token or gate.webhook_token):
            typer.echo(f"Token for re-run and close on the pages: {gate.act_token}", err=True)

    with opened(read, is_patient=True) as context:
        run_server(context, gate, host, port, 0 if no_worker else concurrency, tell)


def worker(
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Reports that run at once.")] = 2,
    with_parent: Annotated[bool, typer.Option("--with-parent", hidden=True)] = False,
) -> None:
    """Run queued reports; on as many machines as there is work for, with RUNBOOK_DATABASE_URL."""
    from runbook import settings
    from runbook.service import logs
    from runbook.service.context import opened
    from runbook.service.worker import run_worker

    logs.set_up()
    read = settings.load()
    if not with_parent:  # who started it has said it
        logs.warn_of(read)
    with opened(read, is_patient=True) as context:
        run_worker(context, concurrency, with_parent)


def reports(
    text: Annotated[str, typer.Argument(help="Text in alert, procedure, verdict or findings.")] = "",
    severity: Annotated[str, typer.Option(help="critical, warning or info.")] = "",
    status: Annotated[str, typer.Option(help="How the run ended, or how bad it is: failed, critical, …")] = "",
    page: Annotated[int, typer.Option(min=1, help="Which fifty, from the newest.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    open_one: Annotated[str, typer.Option("--open", metavar="RUN_ID", help="Open this report in the browser.")] = "",
    prune: Annotated[bool, typer.Option("--prune", help="Remove what is kept no longer, then stop.")] = False,
    keep_days: Annotated[float | None, DAYS] = None,
    keep_runs: Annotated[int | None, RUNS] = None,
) -> None:
    """List, find, open and prune reports."""
    from runbook.service.context import opened

    if not prune and (keep_days is not None or keep_runs is not None):
        raise InputError("--keep-days and --keep-runs say what --prune keeps. Add --prune.")
    if prune and (text or severity or status or open_one):
        raise InputError("--prune takes no search: it removes by age and number. Leave the search out.")
    if keep_days is not None and not 0 <= keep_days <= _DAYS_MAX:  # not min=: it would let nan pass
        raise InputError(f"--keep-days is 0 to {_DAYS_MAX} days.")
    if keep_runs is not None and not 0 <= keep_runs <= _RUNS_MAX:
        raise InputError(f"--keep-runs is 0 to {_RUNS_MAX}.")
    with opened(pool=2) as context:
        if prune:
            _prune(context, keep_days, keep_runs)
        elif open_one:
            _open(context, open_one)
        else:
            _list(context, text, severity, status, page, as_json)


def _prune(context: Context, keep_days: float | None, keep_runs: int | None) -> None:
    from runbook.service.tasks import prune
    from runbook.words import counted

    settings = context.settings
    days = settings.runbook_keep_days if keep_days is None else keep_days
    most_runs = settings.runbook_keep_runs if keep_runs is None else keep_runs
    incidents = reports = 0
    while (gone := prune(context, days, most_runs)).incidents:  # it takes some hundred at a time
        incidents, reports = incidents + len(gone.incidents), reports + len(gone.run_ids)
    typer.echo(f"Removed {counted(incidents, 'incident')} and {counted(reports, 'report')}.")


def _list(context: Context, text: str, severity: str, status: str, page: int, as_json: bool) -> None:
    from runbook.history import listing
    from runbook.history.runs import LEVELS, TERMINAL
    from runbook.words import SEVERITIES

    if severity and severity not in SEVERITIES:
        raise InputError("--severity is critical, warning or info.")
    statuses = (*TERMINAL, "running", *LEVELS)
    if status and status not in statuses:
        raise InputError(f"--status is one of {', '.join(statuses)}.")
    with context.database.transaction() as connection:
        found = listing.reports(connection, listing.Filter(text, severity, status, page))
    for run in found[: listing.PAGE]:
        typer.echo(_json(run) if as_json else _line(run))
    if len(found) > listing.PAGE:
        typer.echo(f"More: --page {page + 1}", err=True)
    if not found:
        typer.echo("No reports.", err=True)


def _json(run: Run) -> str:
    """The run as one line of JSON."""
    listed = {
        "run_id": run.run_id,
        "alertname": run.alertname,
        "procedure": run.procedure,
        "severity": run.severity,
        "state": run.state,
        "level": run.level,
        "verdict": run.verdict,
        "incident_id": run.incident_id,
        "queued_at": run.queued_at.isoformat(),
    }
    return json.dumps(listed)


def _line(run: Run) -> str:
    """The run as one line for a terminal."""
    from runbook.words import moment, one_line

    queued, verdict = moment(run.queued_at), one_line(run.verdict, 200)
    return f"{queued}  {run.state:9} {run.level:8} {run.run_id}  {verdict}"


def _open(context: Context, run_id: str) -> None:
    from runbook.service import pages

    found = pages.run(context, run_id)
    content = pages.file(context, found, "report.html") if found else None
    if content is None:
        raise InputError("There is no such report. `runbook reports` lists those there are.")
    path = context.artifacts.spool / run_id / "report.html"
    if not path.is_file():
        path = Path(tempfile.mkdtemp(prefix=f"{run_id}-")) / "report.html"
        path.write_bytes(content)
    webbrowser.open(path.as_uri())
    typer.echo(str(path))
