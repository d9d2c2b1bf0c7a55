"""What every part of the service works with: settings, database, queue, catalog, folders and artifacts."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from runbook import catalog as catalogs
from runbook import embedded, history, parameters, queue
from runbook import settings as settings_module
from runbook.alert import Alert
from runbook.catalog import Catalog
from runbook.history.alerts import Known
from runbook.history.artifacts import Artifacts, open_artifacts
from runbook.history.database import DatabaseAwayError
from runbook.history.storms import Limits
from runbook.parameters import Folders
from runbook.queue import Queue
from runbook.settings import Settings
from runbook.words import known_severity

_POOL = 12
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Context:
    """The opened parts. `url` is the database's address, for the workers' own connections."""

    settings: Settings
    folders: Folders
    catalog: Catalog
    database: history.Database
    queue: Queue
    artifacts: Artifacts
    url: str = field(repr=False)
    has_schema: threading.Event = field(default_factory=threading.Event, repr=False)

    def migrate(self) -> None:
        """Bring the schema up to date, once in this process.

        Raises DatabaseAwayError, or StorageError where a step is refused.
        """
        if not self.has_schema.is_set():
            history.migrate(self.database, queue.migrations())
            self.has_schema.set()

    def trouble(self) -> str:
        """Why no alert can be taken now, in one line: the database or its schema; empty when they can."""
        trouble = self.database.trouble()
        if trouble or self.has_schema.is_set():
            return trouble
        return "The database of queue and history answers; its schema is not brought up to date yet."

    @property
    def limits(self) -> Limits:
        s = self.settings
        return Limits(s.runbook_storm_runs, s.runbook_storm_minutes, s.runbook_storm_pause_seconds)

    def mediums(self, severity: str) -> tuple[str, ...]:
        """The ways to tell people of an incident of `severity` that are set up: slack, mail."""
        s = self.settings
        has_mail = s.smtp_host and s.smtp_from and self.mail_to(severity)
        return tuple(name for name, is_set in (("slack", s.slack_webhook_url), ("mail", has_mail)) if is_set)

    def mail_to(self, severity: str) -> tuple[str, ...]:
        """The addresses that are written to, each once: critical incidents go to those of both settings."""
        s = self.settings
        wanted = (s.alert_email_to, s.critical_alert_email_to if severity == "critical" else None)
        addresses = (address.strip() for setting in wanted for address in (setting or "").split(","))
        return tuple(dict.fromkeys(address for address in addresses if address))

    def classify(self, alert: Alert) -> Known:
        """The alert with its procedure, and with the catalog's severity where it names none itself."""
        entry = self.catalog.entry(alert.name)
        return Known(alert, entry.procedure, known_severity(alert.labels.get("severity")) or entry.severity)

    def page(self, path: str) -> str:
        """The address of a page for messages; the path alone when RUNBOOK_BASE_URL is not set."""
        return f"{(self.settings.runbook_base_url or '').rstrip('/')}{path}"


def state_folder(settings: Settings) -> Path:
    """Where the embedded database and files on their way live: RUNBOOK_STATE, else .demo below here."""
    return Path(settings.runbook_state or ".demo").expanduser().resolve()


@contextlib.contextmanager
def opened(
    settings: Settings | None = None, folders: Folders | None = None, pool: int = _POOL, is_patient: bool = False
) -> Iterator[Context]:
    """Everything opened and the schema up to date. Starts the embedded PostgreSQL where no database is named.

    `is_patient`: where the database does not answer, its schema is left to a later `migrate`, so that serve, worker
    and database can be started in any order. Raises ConfigurationError, EmbeddedError, InputError or StorageError
    with what to do about it.
    """
    settings = settings or settings_module.load()
    folders = folders or parameters.folders()
    catalog = catalogs.load(folders.catalog)
    state = state_folder(settings)
    artifacts = open_artifacts(settings, state)
    with contextlib.ExitStack() as stack:
        if settings.runbook_database_url:
            url = settings.runbook_database_url.get_secret_value()
        else:
            url = stack.enter_context(embedded.start(state / "service")).url()
        database = stack.enter_context(history.open_database(url, size=pool))
        context = Context(settings, folders, catalog, database, queue.open_queue(url), artifacts, url)
        try:
            context.migrate()
        except DatabaseAwayError as error:
            if not is_patient:
                raise
            _log.warning("nothing is taken or run until the database is there: %s", error)
        yield context
