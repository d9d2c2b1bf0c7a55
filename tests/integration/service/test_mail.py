"""Mail over TLS with a login: a real SMTP server with a certificate made here. The password goes nowhere else."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import service_kit as kit
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from service_kit import Process, alert, message, query, wait_for

from runbook.alert import group_from_json
from runbook.history.deliveries import ATTEMPTS
from runbook.notify import Mailbox, Message, NotifyError, mail, send_mail
from runbook.service import intake, messages
from runbook.service import logs as service_logs
from runbook.service.context import Context

USER, PASSWORD = "runbook", "p4ss-w0rd-that-nobody-sees"
TEAM = ("team@example.com", "oncall@example.com")


class Post:
    """aiosmtpd's handler and authenticator: keeps what was delivered and what was tried."""

    def __init__(self) -> None:
        self.mails: list[tuple[list[str], bytes]] = []
        self.logins: list[tuple[str, bool]] = []
        self.refused: set[str] = set()

    def authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        is_right = (data.login, data.password) == (USER.encode(), PASSWORD.encode())
        self.logins.append((data.password.decode(), server.transport.get_extra_info("ssl_object") is not None))
        return AuthResult(success=is_right, handled=False)

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802
        if address in self.refused:
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        self.mails.append((envelope.rcpt_tos, envelope.content))
        return "250 OK"


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority of our own (ca.pem) and a server's certificate for 127.0.0.1."""
    folder = tmp_path_factory.mktemp("authority")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=Own authority")
    openssl("req", "-new", *key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=mail")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
    openssl("x509", "-req", "-in", "server.csr", "-out", "server.pem", *signed)
    return folder


@contextlib.contextmanager
def serving(post: Post, **options: Any) -> Iterator[int]:
    """A mail server on a port of 127.0.0.1."""
    port = kit.free_port()
    controller = Controller(post, hostname="127.0.0.1", port=port, authenticator=post.authenticate, **options)
    controller.start()
    try:
        yield port
    finally:
        controller.stop()


def certified(authority: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "server.pem", authority / "server.key")
    return context


def starttls(authority: Path) -> dict[str, Any]:
    """STARTTLS, and nothing without a login."""
    return {"tls_context": certified(authority), "require_starttls": True, "auth_required": True}


def box(port: int, password: str = PASSWORD, host: str = "127.0.0.1") -> Mailbox:
    return Mailbox(host, port, "runbook@example.com", TEAM, USER, password)


TOLD = Message(7, 3, "report", "MaxDrawdownExceeded", "MaxDrawdownExceeded", "critical", "Real: 14.2 %.", "#c")


@pytest.fixture
def trusted(authority: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The authority, trusted as the docs say."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority / "ca.pem"))
    return authority


def test_starttls_with_the_right_password_delivers(trusted: Path) -> None:
    post = Post()
    with serving(post, **starttls(trusted)) as port:
        assert send_mail(box(port), TOLD) == ()
    assert [to for to, _ in post.mails] == [list(TEAM)]
    assert post.logins == [(PASSWORD, True)]


def test_the_port_of_smtps_is_encrypted_from_the_first_byte(trusted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    post = Post()
    assert mail._TLS_PORT == 465
    with serving(post, ssl_context=certified(trusted), auth_require_tls=False) as port:
        monkeypatch.setattr(mail, "_TLS_PORT", port)  # 465 is not for everybody to listen on
        send_mail(box(port), TOLD)
    assert post.logins == [(PASSWORD, True)]
    assert len(post.mails) == 1


def test_a_plain_server_on_the_port_of_smtps_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    post = Post()
    with serving(post) as port:
        monkeypatch.setattr(mail, "_TLS_PORT", port)
        with pytest.raises(NotifyError, match=f"no TLS on port {port}"):
            send_mail(box(port), TOLD)
    assert (post.logins, post.mails) == ([], [])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_without_starttls_the_password_stays_here(host: str) -> None:
    """The server would even take it: it offers AUTH in the clear."""
    post = Post()
    with (
        serving(post, auth_require_tls=False) as port,
        pytest.raises(NotifyError, match=r"offers no STARTTLS on port \d+, so the password was not sent") as refused,
    ):
        send_mail(box(port, host=host), TOLD)
    assert "SMTP_USERNAME" in str(refused.value)
    assert (post.logins, post.mails) == ([], [])


def test_a_certificate_that_is_not_trusted_is_refused_with_its_reason(authority: Path) -> None:
    post = Post()
    with serving(post, **starttls(authority)) as port, pytest.raises(NotifyError, match="not trusted: ") as refused:
        send_mail(box(port), TOLD)
    assert "SSL_CERT_FILE" in str(refused.value)
    assert len(str(refused.value)) < 300
    assert (post.logins, post.mails) == ([], [])


def test_a_certificate_for_another_name_is_refused(trusted: Path) -> None:
    post = Post()
    with serving(post, **starttls(trusted)) as port, pytest.raises(NotifyError, match=r"not trusted: .*mismatch"):
        send_mail(box(port, host="localhost"), TOLD)
    assert (post.logins, post.mails) == ([], [])


def test_a_server_without_logins_and_a_password_that_smtp_cannot_carry(trusted: Path) -> None:
    post = Post()
    unknown = {**starttls(trusted), "auth_exclude_mechanism": ["PLAIN", "LOGIN"]}
    with serving(post, **unknown) as port, pytest.raises(NotifyError, match="takes no login"):
        send_mail(box(port), TOLD)
    with serving(post, **starttls(trusted)) as port, pytest.raises(NotifyError, match="ASCII") as refused:
        send_mail(box(port, "pässword"), TOLD)
    assert "ssword" not in str(refused.value)
    assert post.mails == []


def test_one_address_that_is_refused_does_not_make_the_others_read_it_again(url: str, tmp_path: Path) -> None:
    post = Post()
    post.refused = {"oncall@example.com"}
    with serving(post) as port, kit.context(url, tmp_path, **_settings(port, "")) as made:
        _report(made)
        assert _deliver(made) == []
        assert _deliver(made) == []
        assert [to for to, _ in post.mails] == [["team@example.com"]]
        said = query(made, "SELECT text FROM runbook.events WHERE kind = 'not_told'")
        assert said == [{"text": "mail: report: refused for oncall@example.com"}]
        assert query(made, "SELECT state FROM runbook.deliveries") == [{"state": "sent"}]
        post.refused = set(TEAM)
        with pytest.raises(NotifyError, match=r"refused every address \(550\)"):
            send_mail(Mailbox("127.0.0.1", port, "runbook@example.com", TEAM), TOLD)


def test_a_warning_that_no_address_is_for_is_not_said_to_be_told(url: str, tmp_path: Path) -> None:
    post = Post()
    with serving(post) as port, kit.context(url, tmp_path, **{**_settings(port, ""), "alert_email_to": None}) as made:
        intake.accept(made, group_from_json(message(alert(severity="warning"))))
        kit.do_all(made)
        assert query(made, "SELECT 1 FROM runbook.deliveries") == []
        intake.accept(made, group_from_json(message(alert(fingerprint="f2"), key="other")))
        kit.do_all(made)
        assert _deliver(made) == []
    assert [to for to, _ in post.mails] == [["oncall@example.com"]]


def test_a_mail_that_is_out_is_out_however_the_server_says_goodbye() -> None:
    class Rude(Post):
        async def handle_QUIT(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
            return "421 no time"

    post = Rude()
    with serving(post) as port:
        send_mail(Mailbox("127.0.0.1", port, "runbook@example.com", TEAM), TOLD)
    assert len(post.mails) == 1


def test_a_wrong_password_is_tried_again_then_shown_and_never_the_password(
    url: str, tmp_path: Path, trusted: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = "wrong-and-still-secret"
    post = Post()
    caplog.set_level(logging.DEBUG)
    with serving(post, **starttls(trusted)) as port, kit.context(url, tmp_path, **_settings(port, wrong)) as made:
        _report(made)
        reasons = [reason for _ in range(ATTEMPTS + 1) for reason in _deliver(made)]
        assert len(reasons) == ATTEMPTS - 1  # the last one is not raised any more: it is shown
        assert set(reasons) == {
            "The mail server 127.0.0.1 refused the login (535). Check SMTP_USERNAME and SMTP_PASSWORD."
        }
        assert post.logins[0] == (wrong, True)
        assert post.mails == []
        assert query(made, "SELECT state, attempts FROM runbook.deliveries") == [
            {"state": "failed", "attempts": ATTEMPTS}
        ]
        formatted = [service_logs.JsonFormatter().format(record) for record in caplog.records]
        # aiosmtpd, the other side, logs what it reads; what we log is ours and the vendors' we call.
        ours = "".join(line for line in formatted if '"logger": "mail.' not in line)
        for text in (ours, _everything(made)):
            assert wrong not in text
            assert "refused the login (535)" in text


@pytest.mark.slow
def test_the_page_says_why_a_mail_is_not_out_while_the_service_tries(url: str, tmp_path: Path, trusted: Path) -> None:
    """Waits for a whole service: its first attempt, what it logs, and what its page says; then the right password."""
    post = Post()
    kit.project(tmp_path / "project")
    with serving(post, **starttls(trusted)) as port, kit.context(url, tmp_path) as made:
        settings = {
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": str(port),
            "SMTP_FROM": "runbook@example.com",
            "SMTP_USERNAME": USER,
            "ALERT_EMAIL_TO": "team@example.com",
        }
        wrong = "wrong-and-still-secret"
        with Process(tmp_path, url, "serve", SMTP_PASSWORD=wrong, **settings) as web:
            assert web.post(message(alert()))[0] == 202
            wait_for(lambda: query(made, "SELECT 1 FROM runbook.deliveries WHERE attempts >= 1"))
            page = web.get("/incidents/1")[1].decode()
            assert "refused the login (535)" in page
            assert "waiting" in page
            metrics = web.get("/metrics")[1].decode()
            assert 'runbook_messages_unsent{medium="mail",state="waiting"} 1.0' in metrics
            said = web.said()
        assert "refused the login (535)" in said
        for text in (page, metrics, said, _everything(made)):
            assert wrong not in text
        with Process(tmp_path, url, "serve", "--no-worker", SMTP_PASSWORD=PASSWORD, **settings) as web:
            wait_for(lambda: post.mails)
            wait_for(lambda: b"refused the login" not in web.get("/incidents/1")[1])
        assert [to for to, _ in post.mails] == [["team@example.com"]]


@pytest.mark.slow
def test_a_mail_server_that_says_nothing_holds_up_neither_the_dead_man_nor_reports(url: str, tmp_path: Path) -> None:
    """More mails hang than are sent at once, each for twenty seconds: what else there is to do is done meanwhile."""
    kit.project(tmp_path / "project")
    with socket.create_server(("127.0.0.1", 0), backlog=50) as silent:
        port = silent.getsockname()[1]
        with kit.context(url, tmp_path, **_settings(port, "")) as made:
            for number in range(8):
                told = message(alert("AgentDown", f"f{number}", "critical"), key=f"g{number}")
                intake.accept(made, group_from_json(told))
            kit.do_all(made)
            made.database.commit(
                lambda connection: connection.execute(
                    "DELETE FROM runbook.procrastinate_jobs WHERE queue_name = 'watch'"
                )
            )
            mails = {
                "SMTP_HOST": "127.0.0.1",
                "SMTP_PORT": str(port),
                "SMTP_FROM": "r@example.com",
                "ALERT_EMAIL_TO": TEAM[0],
            }
            with Process(tmp_path, url, "serve", "--no-worker", RUNBOOK_DEAD_MAN_SECONDS="1", **mails) as web:
                hanging = "SELECT 1 FROM runbook.procrastinate_jobs WHERE queue_name = 'mail' AND status = 'doing'"
                wait_for(lambda: len(query(made, hanging)) == 3)
                assert web.post(message(alert(fingerprint="new"), key="new"))[0] == 202
                wait_for(lambda: query(made, "SELECT 1 FROM runbook.events WHERE kind = 'dead_man'"))
                assert query(made, "SELECT 1 FROM runbook.deliveries WHERE attempts > 0") == []
                web.kill()


def _settings(port: int, password: str) -> dict[str, Any]:
    login = {"smtp_username": USER, "smtp_password": password} if password else {}
    return {
        "smtp_host": "127.0.0.1",
        "smtp_port": port,
        "smtp_from": "runbook@example.com",
        "alert_email_to": TEAM[0],
        "critical_alert_email_to": TEAM[1],
        **login,
    }


def _report(made: Context) -> None:
    intake.accept(made, group_from_json(message(alert())))
    kit.do_all(made)


def _deliver(made: Context) -> list[str]:
    """Try every waiting message once -> the reasons of those that failed."""
    reasons = []
    for item in query(made, "SELECT id FROM runbook.deliveries WHERE state = 'waiting' ORDER BY id"):
        try:
            messages.send(made, item["id"])
        except NotifyError as error:
            reasons.append(str(error))
    return reasons


def _everything(made: Context) -> str:
    """All that the database holds, as text."""
    tables = query(made, "SELECT tablename FROM pg_tables WHERE schemaname = 'runbook'")
    return json.dumps(
        [query(made, f"SELECT to_jsonb(t) AS t FROM runbook.{table['tablename']} t") for table in tables], default=str
    )
