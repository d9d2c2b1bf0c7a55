"""Settings come from the environment, wrong ones are named, and secrets do not show."""

from __future__ import annotations

import pytest

from runbook import settings
from runbook.errors import ConfigurationError
from runbook.settings import Settings


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_defaults() -> None:
    loaded = settings.load()
    assert loaded.database_url is None
    assert loaded.kube_namespace == "cryptofunk"
    assert loaded.secrets == ()


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_empty_is_not_set(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name.upper(), "")
    assert getattr(settings.load(), name) == Settings.model_fields[name].get_default()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RUNBOOK_QUERY_SECONDS", "soon"),
        ("RUNBOOK_QUERY_SECONDS", "0"),
        ("RUNBOOK_QUERY_SECONDS", "nan"),
        ("RUNBOOK_RUN_SECONDS", "-1"),
        ("RUNBOOK_AS_OF", "yesterday"),
        ("RUNBOOK_AS_OF", "2026-01-15T14:02:00"),
        ("SMTP_PORT", "70000"),
        ("RUNBOOK_BASE_URL", "runbook.example.com"),
        ("RUNBOOK_BASE_URL", "https://"),
        ("RUNBOOK_BASE_URL", "javascript:alert(1)"),
        ("SLACK_WEBHOOK_URL", "hooks.slack.com/services/T0/B0/x"),
        ("ALERT_EMAIL_TO", "a@example.com; b@example.com"),
        ("CRITICAL_ALERT_EMAIL_TO", "a@example.com;b@example.com"),
        ("ALERT_EMAIL_TO", "a@example.com, oncall"),
        ("RUNBOOK_KEEP_RUNS", "1.5"),
    ],
)
def test_a_wrong_value_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=f"{name} cannot be used"):
        settings.load()


def test_secrets_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:hid-den@h/x")
    monkeypatch.setenv("SMTP_PASSWORD", "smtp-hid-den")
    loaded = settings.load()
    assert "hid-den" not in repr(loaded) + str(loaded) + str(loaded.model_dump()) + loaded.model_dump_json()
    assert loaded.secrets == ("postgresql://u:hid-den@h/x", "smtp-hid-den")


def test_a_wrong_secret_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMTP_PORT", "hid-den-port")
    with pytest.raises(ConfigurationError) as caught:
        settings.load()
    assert "hid-den" not in str(caught.value)


def test_every_variable_says_what_it_is_for() -> None:
    plain = {
        "slack_webhook_url",
        "smtp_host",
        "smtp_port",
        "smtp_from",
        "smtp_username",
        "smtp_password",
        "alert_email_to",
        "critical_alert_email_to",
    }
    missing = [name for name, one in Settings.model_fields.items() if not one.description and name not in plain]
    assert missing == []


def test_lists_of_addresses_and_addresses_that_fit_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNBOOK_BASE_URL", "https://runbook.example.com/below")
    monkeypatch.setenv("ALERT_EMAIL_TO", " a@example.com , Jo <b@example.com>,")
    assert settings.load().runbook_base_url == "https://runbook.example.com/below"


def test_a_misspelt_name_is_said_with_the_nearest_one() -> None:
    environment = {
        "RUNBOOK_BASEURL": "x",
        "RUNBOOK_WEBHOOK_TOKN": "x",
        "RUNBOOK_XYZZY": "x",
        "RUNBOOK_BASE_URL": "x",
        "RUNBOOK_RUN_ID": "set by the runner",
        "RUNBOOK_SERVICE_HOST": "set by Kubernetes",
        "RUNBOOK_SERVICE_PORT_HTTP": "",
        "RUNBOOK_PORT": "",
        "RUNBOOK_PORT_8088_TCP_ADDR": "",
        "RUNBOOK_DB_SERVICE_HOST": "",
        "PATH": "",
    }
    assert settings.misspelt(environment) == (
        "RUNBOOK_BASEURL is no setting and is not read. Did you mean RUNBOOK_BASE_URL?",
        "RUNBOOK_WEBHOOK_TOKN is no setting and is not read. Did you mean RUNBOOK_WEBHOOK_TOKEN?",
        "RUNBOOK_XYZZY is no setting and is not read.",
    )


def test_what_is_left_of_a_demo_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.pinned(settings.load()) == ()
    monkeypatch.setenv("RUNBOOK_AS_OF", "2026-01-15T14:10:00Z")
    (warning,) = settings.pinned(settings.load())
    assert warning.startswith("RUNBOOK_AS_OF is set: every report looks from that moment, not from now.")
