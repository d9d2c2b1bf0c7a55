"""The command `runbook`: a thin layer. Heavy modules are imported by the commands that need them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from runbook import cli_service
from runbook.errors import ConfigurationError, InputError, RunbookError, StorageError

if TYPE_CHECKING:
    from runbook.alert import AlertGroup
    from runbook.runner import Progress, Request, RunResult

_NAME_SHOWN_MAX = 100
PAYLOAD_MAX = 4 * 1024 * 1024
# typer carries its own copy of click, older ones the real one: what all usage errors of either are.
_UsageError: Any = typer.BadParameter.__mro__[2]
_SOURCES = ("DATABASE_URL", "PROMETHEUS_URL", "KUBECONFIG", "ALERTMANAGER_URL")

app = typer.Typer(
    name="runbook",
    help="Alert runbooks that run themselves: an alert goes in, a page that says what is wrong comes out.",
    epilog="Begin with: runbook demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

cli_service.register(app)

Labels = Annotated[list[str] | None, typer.Option("--label", metavar="K=V", help="A label of the alert; repeatable.")]
Parameters = Annotated[
    list[str] | None,
    typer.Option("-p", "--parameter", metavar="NAME=VALUE", help="A parameter of the notebook; repeatable."),
]
Out = Annotated[Path | None, typer.Option(metavar="DIR", help="Where the run's folder goes; RUNBOOK_ARTIFACTS.")]
Limit = Annotated[float | None, typer.Option(metavar="SECONDS", help="Time limit of the run; RUNBOOK_RUN_SECONDS.")]


def main() -> None:
    """Run the command line. Bad input is one line on standard error and exit code 2, never a traceback."""
    try:
        code = app(standalone_mode=False)
    except typer.Exit as stop:
        code = stop.exit_code
    except (typer.Abort, KeyboardInterrupt):
        _fail("Stopped.", 130)
    except (InputError, ConfigurationError) as error:
        _fail(str(error), 2)
    except StorageError as error:
        _fail(str(error), 4)
    except RunbookError as error:
        _fail(str(error), 1)
    except _UsageError as error:
        if not sys.argv[1:]:
            app(["--help"], standalone_mode=False)
            sys.exit(2)
        _fail(f"{error.format_message()} See: runbook --help", 2)
    sys.exit(code if isinstance(code, int) else 0)


@app.command(epilog="Example: runbook run MaxDrawdownExceeded --label symbol=BTCUSDT -p lookback_hours=12")
def run(
    alertname: Annotated[str | None, typer.Argument(help="The alert; may be left out with --payload.")] = None,
    label: Labels = None,
    starts_at: Annotated[
        str | None, typer.Option(metavar="ISO", help="When the alert began, as in 2026-01-15T14:02:00Z.")
    ] = None,
    as_of: Annotated[str | None, typer.Option(metavar="ISO", help="Look from this moment instead of now.")] = None,
    parameter: Parameters = None,
    payload: Annotated[
        str | None, typer.Option(metavar="FILE", help="An Alertmanager webhook message (version 4); - reads it in.")
    ] = None,
    evidence: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Answer from evidence recorded there, asking nothing.")
    ] = None,
    out: Out = None,
    limit: Limit = None,
    any_: Annotated[
        bool, typer.Option("--any", help="Take the general procedure for a name that the catalog does not list.")
    ] = False,
) -> int:
    """Run the procedure of one alert. The last line on standard output is the path of report.html.

    Where RUNBOOK_ARTIFACTS names a store (s3://BUCKET/PREFIX), it is the report's address there.

    Exit 0: every check ran. 3: degraded, something is unknown. 4: failed or timed out, with a partial
    report. 2: bad input, nothing was run.
    """
    from dataclasses import replace

    from runbook import parameters
    from runbook.alert import parse_time
    from runbook.runner import Request

    labels = _labels(label or ())
    options: dict[str, Any] = {
        "parameters": parameters.from_text(parameter or ()),
        "evidence": evidence,
        "limit_seconds": limit,
    }
    if payload is not None:
        request = _of_group(_group(payload), alertname, options)
        request = replace(request, labels={**request.labels, **labels})
    elif alertname:
        if not any_:
            _require_known(alertname)
        request = Request(alertname, labels=labels, **options)
    else:
        raise InputError("Name the alert, or give --payload. `runbook list` shows the alerts.")
    times = {"starts_at": starts_at, "as_of": as_of}
    given: dict[str, Any] = {
        name: parse_time(text, f"--{name.replace('_', '-')}") for name, text in times.items() if text is not None
    }
    return _run(replace(request, **given), out)


@app.command("list", epilog="Example: runbook list MaxDrawdownExceeded")
def list_(
    procedure: Annotated[str | None, typer.Argument(help="Show the parameters of this procedure (or alert).")] = None,
) -> None:
    """List the procedures and their alerts, or the parameters of one."""
    from runbook import catalog, parameters

    folders = parameters.folders()
    loaded = catalog.load(folders.catalog)
    if procedure is None:
        rows = [
            (name, "" if folders.notebook(name).is_file() else "not written yet", ", ".join(entry.alerts) or "-")
            for name, entry in loaded.procedures.items()
        ]
        _columns(("procedure", "", "alerts"), rows)
        return
    entry = loaded.entry(procedure)
    if not entry.is_known:
        raise InputError(f"There is no procedure or alert {procedure!a}. `runbook list` shows them.")
    declared = parameters.declared(folders.notebook(entry.procedure))
    print(f"{entry.procedure}: {entry.category}, {entry.channel}")
    print(f"alerts: {', '.join(loaded.procedures[entry.procedure].alerts) or 'none of its own'}\n")
    _columns(("parameter", "type", "default", "meaning"), [(p.name, p.type, repr(p.default), p.help) for p in declared])


@app.command(epilog="Example: runbook demo --incident rogue-strategy")
def demo(
    incident: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which incident; docs/demo.md lists them.")
    ] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Keep the platform running, to try commands on.")] = False,
    schema: Annotated[str, typer.Option(metavar="platform|documented", help="Which schema the database has.")] = (
        "platform"
    ),
    out: Out = None,
    limit: Limit = None,
) -> int:
    """Start the simulated platform and run the procedure of its incident's alert. Nothing real is touched."""
    from cryptofunk_demo import incidents
    from cryptofunk_demo.platform import Platform
    from runbook.alert import alert_from_json
    from runbook.errors import DemoError
    from runbook.runner import Request

    name = incident or incidents.DEFAULT
    if schema not in ("platform", "documented"):
        raise InputError(f"--schema is platform or documented, not {schema!a}.")
    try:
        incidents.named(name)
    except DemoError as error:
        raise InputError(str(error)) from None
    _say(f"Starting the simulated platform with the incident {name} …")
    with Platform.start(name, schema) as platform:
        os.environ.update(platform.environment)
        alert = alert_from_json(platform.alert)
        if serve:
            _serve(platform.environment, alert.name)
            return 0
        return _run(Request.of_alert(alert, limit_seconds=limit), out)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="Example: runbook lab --no-browser. Options it does not know go to JupyterLab.",
)
def lab(context: typer.Context) -> int:
    """Open JupyterLab on notebooks/, against the configured platform, else against the simulated one."""
    from runbook import parameters

    folders = parameters.folders()
    if any(os.environ.get(name) for name in _SOURCES):
        return _lab(folders.notebooks, context.args)
    from cryptofunk_demo.platform import Platform

    _say("No platform is configured: starting the simulated one …")
    with Platform.start() as platform:
        os.environ.update(platform.environment)
        return _lab(folders.notebooks, context.args)


def _run(request: Request, out: Path | None) -> int:
    """Run `request` with progress on standard error; where the report is is the last line on standard output."""
    from runbook import cli_store, runner, settings

    config = settings.load()
    for warning in settings.misspelt(os.environ):
        _say(f"runbook: {_clean(warning)}")
    store = None if out else cli_store.remote(config)
    folder = out or (store.spool if store else Path(config.runbook_artifacts.removeprefix("file://")))
    with runner.cancelled_by_signals() as cancelled, _progress() as on_progress:
        result = runner.run(request, folder, settings=config, on_progress=on_progress, cancelled=cancelled)
    _say(_summary(result))
    place = cli_store.put(result, store)
    if place.said:
        _say(f"runbook: {_clean(place.said)}")
    print(place.report, flush=True)
    return result.exit_code


def _require_known(alertname: str) -> None:
    """Whether the catalog lists the name: a misspelt one would get the general procedure. Raises InputError."""
    from runbook import catalog, parameters

    loaded = catalog.load(parameters.folders().catalog)
    if loaded.entry(alertname).is_known:
        return
    near = loaded.nearest(alertname)
    meant = f" Did you mean {near}?" if near else " `runbook list` shows them."
    name = alertname if len(alertname) <= _NAME_SHOWN_MAX else f"{alertname[:_NAME_SHOWN_MAX]}…"
    raise InputError(
        f"There is no procedure or alert {name!a}.{meant} The general procedure {catalog.FALLBACK} takes any name"
        " with --any."
    )


def _labels(pairs: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise InputError(f"--label {pair!a} is not name=value.")
        found[name] = value
    return found


def _group(payload: str) -> AlertGroup:
    """The webhook message in the file `payload` ("-": standard input). Raises InputError."""
    import json

    from runbook.alert import group_from_json

    try:
        data = sys.stdin.buffer.read(PAYLOAD_MAX + 1) if payload == "-" else _start_of(Path(payload))
    except OSError as error:
        raise InputError(f"The payload {payload} cannot be read: {error.strerror}.") from None
    if len(data) > PAYLOAD_MAX:
        raise InputError("The payload is over 4 MiB.")
    try:
        return group_from_json(json.loads(data))
    except RecursionError:
        raise InputError("The payload is JSON nested too deeply.") from None
    except ValueError:
        raise InputError("The payload is not JSON.") from None


def _start_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(PAYLOAD_MAX + 1)


def _of_group(group: AlertGroup, alertname: str | None, options: dict[str, Any]) -> Request:
    """The request for a group's subject, or for the most severe of its alerts named `alertname`."""
    from runbook.alert import subject_of
    from runbook.runner import Request

    alerts = group.firing or group.alerts
    chosen = [alert for alert in alerts if alertname in (None, alert.name)]
    if not chosen:
        raise InputError(f"The payload holds no alert named {alertname!a}.")
    return Request.of_alert(subject_of(chosen), alerts, **options)


class _progress:  # noqa: N801 (used as a function)
    """Progress on standard error: a bar where it is a terminal, plain lines elsewhere."""

    def __enter__(self) -> Callable[[Progress], None]:
        self._bar: Any = None
        self._live = sys.stderr.isatty()
        return self._terminal if self._live else self._plain

    def __exit__(self, *exc: object) -> None:
        if self._bar:
            self._bar.stop()

    def _plain(self, progress: Progress) -> None:
        line = _line(progress)
        if line:
            _say(line)

    def _terminal(self, progress: Progress) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar
        from rich.text import Text

        if self._bar is None:
            columns = (BarColumn(20), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
            self._bar = Bar(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task("starting the notebook", total=None)
            self._bar.start()
        if progress.kind == "cell_started":
            self._bar.update(
                self._task, completed=progress.cell - 1, total=progress.cells, description=_clean(progress.title)
            )
        elif progress.kind == "reporting":
            self._bar.update(self._task, description="writing the page")
        if progress.kind in ("started", "finding"):
            self._bar.console.print(Text(_line(progress)))


def _line(progress: Progress) -> str:
    """One line about a moment of the run; "" where it is not worth one."""
    signs = {"ok": "✓", "warning": "▲", "critical": "■", "unknown": "?", "skipped": "–"}
    match progress.kind:
        case "started":
            return f"{progress.title}: run {progress.run_id}"
        case "cell_started":
            return f"  {progress.cell} of {progress.cells}: {_clean(progress.title)}"
        case "cell_finished" if progress.status != "ran":
            return f"  {progress.cell} of {progress.cells}: {progress.status}"
        case "finding":
            return f"    {signs.get(progress.status, '?')} {_clean(progress.status)}: {_clean(progress.title)}"
    return ""


def _summary(result: RunResult) -> str:
    cells = result.outcome.cells.model_dump()
    told = ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in cells.items() if count) or "none"
    status = result.status.value.replace("_", " ")
    return f"\n{_clean(result.verdict)}\n{status}: cells {told}; {result.outcome.seconds:.1f} s"


def _serve(environment: dict[str, str], alertname: str) -> None:
    import shlex

    from runbook.runner import cancelled_by_signals

    for name, value in environment.items():
        print(f"export {name}={shlex.quote(value)}")
    _say(
        "\nThe simulated platform runs until Ctrl-C. Paste the lines above into another terminal, then for example:\n"
        f"  runbook run {alertname} --any\n  runbook lab\n  psql \"$DATABASE_URL\" -c 'TABLE trading_sessions'"
    )
    sys.stdout.flush()
    with cancelled_by_signals() as stop:
        while not stop.wait(3600):
            pass


def _lab(notebooks: Path, arguments: list[str]) -> int:
    """JupyterLab on `notebooks` until it ends -> its exit code. It asks for its token; root has to be allowed."""
    import signal
    import subprocess

    root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    quiet = ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={notebooks}", *quiet, *root, *arguments]
    child = subprocess.Popen(command)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches JupyterLab itself, which asks once more
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    return child.wait()


def _columns(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows under a header, each column as wide as its widest text, the last one free."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header) - 1)]
    for row in (header, *rows):
        start = "".join(text.ljust(width + 2) for text, width in zip(row, widths, strict=False) if width)
        print(f"{start}{row[-1]}".rstrip())


def _clean(text: str) -> str:
    """`text` on one line, without control characters that a terminal would obey."""
    return "".join(character if character.isprintable() else " " for character in text)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _fail(message: str, code: int) -> NoReturn:
    _say(f"runbook: {_clean(' '.join(message.split()))}")
    sys.exit(code)


@app.callback(invoke_without_command=True)
def _top(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed

        print(f"runbook {installed('runbook')}")
        raise typer.Exit
