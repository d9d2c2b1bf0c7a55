"""Settings from environment variables. Addresses may hold passwords: they are secrets here."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from datetime import datetime
from functools import cached_property

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from runbook.errors import ConfigurationError

_PREFIX = "RUNBOOK_"
_ADDRESS = re.compile(r"https?://[^\s/?#]+", re.IGNORECASE)
_SET_BY_US = frozenset(("RUN_ID", "WARM", "ROOM"))
"""Rests of variables that our own processes set for each other."""
_SET_BY_KUBERNETES = re.compile(r"(\w+_)?(SERVICE_HOST|SERVICE_PORT\w*|PORT(_\d+_\w+)?)")
"""Rests of variables that Kubernetes sets in each pod for a Service whose name begins with "runbook"."""


class Settings(BaseSettings):
    """Every environment variable the project reads, with its default.

    Platform sources: an empty address means "not configured", and the checks that need it answer
    `unknown`. `PROMETHEUS_URL=recorded:/folder` replays metrics from evidence recorded there.
    """

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", frozen=True)

    database_url: SecretStr | None = Field(None, description="trading database; a read-only role")
    prometheus_url: SecretStr | None = Field(None, description="Prometheus")
    alertmanager_url: SecretStr | None = Field(None, description="Alertmanager")
    kubeconfig: str | None = Field(None, description="kubeconfig file; empty inside a cluster")
    kubernetes_service_host: str | None = Field(None, description="set by Kubernetes inside a pod")
    kube_namespace: str = Field("cryptofunk", description="namespace of the platform")

    runbook_database_url: SecretStr | None = Field(None, description="queue and history; empty: embedded")
    runbook_artifacts: str = Field("reports", description="where run folders go; any fsspec URL")
    runbook_webhook_token: SecretStr | None = Field(None, description="bearer token of the webhook")
    runbook_read_token: SecretStr | None = Field(None, description="token that opens the report pages")
    runbook_user_header: str | None = Field(None, description="user header set by a trusted proxy")
    runbook_base_url: str | None = Field(None, description="address of the pages, for links in messages")

    runbook_trusted_proxies: str = Field("127.0.0.1,::1", description="addresses the user header is believed from")

    runbook_storm_runs: int = Field(10, ge=1, description="incidents of one procedure run singly in the storm window")
    runbook_storm_minutes: float = Field(10.0, gt=0, description="the storm window")
    runbook_storm_pause_seconds: float = Field(30.0, ge=0, description="pause between the runs of one storm")
    runbook_dead_man_seconds: float = Field(
        60.0, gt=0, description="a critical alert without report for so long is told"
    )
    runbook_heartbeat_seconds: float = Field(5.0, gt=0, description="sign of life of a worker")
    runbook_stalled_seconds: float = Field(20.0, gt=0, description="a worker silent for so long is given up")
    runbook_stop_seconds: float = Field(
        25.0, ge=0, description="time that running reports get when a worker is stopped"
    )
    runbook_keep_days: float = Field(90.0, gt=0, description="closed incidents are kept so long")
    runbook_keep_runs: int = Field(10_000, ge=1, description="and at most so many runs")

    runbook_query_seconds: float = Field(5.0, gt=0, le=600, description="time limit of one question")
    runbook_run_seconds: float = Field(120.0, gt=0, le=86_400, description="time limit of a whole run")
    runbook_as_of: datetime | None = Field(None, description="pins the clock, for the demo and replays")
    runbook_starts_at: datetime | None = Field(None, description="alert moment where none is given")
    runbook_evidence: str | None = Field(None, description="folder of evidence to replay, instead of asking")
    runbook_record: str | None = Field(None, description="folder to record evidence to")
    runbook_notebook: str | None = Field(None, description="the notebook that runs, set by the runner")
    runbook_postgres_bin: str | None = Field(None, description="folder with initdb and postgres")
    runbook_state: str | None = Field(None, description="folder for the embedded PostgreSQL and the demo")

    slack_webhook_url: SecretStr | None = None
    smtp_host: str | None = None
    smtp_port: int = Field(587, ge=1, le=65_535)
    smtp_from: str | None = None
    smtp_username: str | None = None
    smtp_password: SecretStr | None = None
    alert_email_to: str | None = None
    critical_alert_email_to: str | None = None

    @field_validator("runbook_as_of", "runbook_starts_at")
    @classmethod
    def _aware(cls, value: datetime | None) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("needs a time zone, as in 2026-01-15T14:02:00Z")
        return value

    @field_validator("runbook_base_url")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is not None and not _ADDRESS.match(value):
            raise ValueError("needs scheme and host, as in https://runbook.example.com")
        return value

    @field_validator("slack_webhook_url")
    @classmethod
    def _secret_address(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _ADDRESS.match(value.get_secret_value()):
            raise ValueError("needs scheme and host, as in https://hooks.slack.com/…")
        return value

    @field_validator("alert_email_to", "critical_alert_email_to")
    @classmethod
    def _addresses(cls, value: str | None) -> str | None:
        if ";" in (value or ""):
            raise ValueError("takes addresses with commas between them, not semicolons")
        if any("@" not in address for address in (value or "").split(",") if address.strip()):
            raise ValueError("holds something that is no mail address; commas stand between them")
        return value

    @cached_property
    def secrets(self) -> tuple[str, ...]:
        """Every secret value set here, for the redaction to look for; longest first."""
        values = (getattr(self, name) for name in type(self).model_fields)
        found = {value.get_secret_value() for value in values if isinstance(value, SecretStr)}
        return tuple(sorted((value for value in found if len(value) >= 6), key=len, reverse=True))


def load() -> Settings:
    """The settings of this process's environment. Raises ConfigurationError naming the variable."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"]).upper()
        what = first["msg"].removeprefix("Value error, ")
        raise ConfigurationError(f"{name} cannot be used: {what}. Correct it and run again.") from None


def misspelt(environment: Mapping[str, str]) -> tuple[str, ...]:
    """A line for each variable that looks like one of ours, is none, and so is not read: with the nearest name."""
    known = {name.upper().removeprefix(_PREFIX) for name in Settings.model_fields if name.upper().startswith(_PREFIX)}
    own = known | _SET_BY_US
    found = []
    for name in sorted(environment):
        rest = name.removeprefix(_PREFIX)
        if rest == name or rest in own or _SET_BY_KUBERNETES.fullmatch(rest):
            continue
        near = difflib.get_close_matches(rest, sorted(known), n=1)
        meant = f" Did you mean {_PREFIX}{near[0]}?" if near else ""
        found.append(f"{name[:100]} is no setting and is not read.{meant}")
    return tuple(found)


def pinned(config: Settings) -> tuple[str, ...]:
    """A line for each setting of demo and replays that would make a service report on another time than now."""
    meanings = {
        "runbook_as_of": "every report looks from that moment, not from now",
        "runbook_starts_at": "alerts without a time of their own begin then",
        "runbook_evidence": "every report is made of what was recorded there, and asks the platform nothing",
    }
    return tuple(
        f"{name.upper()} is set: {meaning}. It is for replays and the demo; unset it and start again."
        for name, meaning in meanings.items()
        if getattr(config, name) is not None
    )
