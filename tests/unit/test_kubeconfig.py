"""KUBECONFIG as kubectl reads it, and the true reason where the API server cannot be asked."""

from __future__ import annotations

import base64
import json
import logging
import socket
import ssl
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from runbook.errors import NotConfigured, QueryFailed, SourceError, SourceUnavailable
from runbook.sources import overheard
from runbook.sources.cluster import Cluster
from runbook.sources.cluster.kubeconfig import read
from runbook.sources.evidence import Evidence
from tests.worlds import dead_url

PRINTED = {
    "apiVersion": "client.authentication.k8s.io/v1",
    "kind": "ExecCredential",
    "status": {"token": "from-plugin"},
}


def written(path: Path, server: str = "http://127.0.0.1:1", user: dict[str, Any] | None = None, **cluster: Any) -> Path:
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "u", "user": {"token": "cluster-token-1234"} if user is None else user}],
    }
    path.write_text(json.dumps(content))
    return path


def asked(path: Path | str, seconds: float = 5.0) -> SourceError:
    """Why pods cannot be listed."""
    cluster = Cluster(str(path), False, "cryptofunk", Evidence(limit_seconds=seconds))
    try:
        with pytest.raises(SourceError) as caught:
            cluster.pods()
    finally:
        cluster.close()
    return caught.value


# Reading.


def test_files_are_merged_the_first_to_name_a_thing_wins(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "tok").write_text("secret-of-a-file\n")
    (tmp_path / "sub" / "ca.crt").write_text("AUTHORITY")
    files = {
        "a": {
            "contexts": [{"name": "two", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": "http://a:1/"}}],
        },
        "sub/b": {
            "current-context": "two",
            "contexts": [{"name": "two", "context": {"cluster": "d", "user": "u"}}],
            "clusters": [
                {"name": "c", "cluster": {"server": "http://b:2"}},
                {"name": "d", "cluster": {"server": "d.example:6443", "certificate-authority": "ca.crt"}},
            ],
            "users": [{"name": "u", "user": {"tokenFile": "tok", "token": "inline"}}],
        },
        "c": {"current-context": "one", "users": [{"name": "u", "user": {"token": "of-c"}}]},
        "empty": None,
    }
    for name, content in files.items():
        (tmp_path / name).write_text(yaml.safe_dump(content) if content else "")

    def listed(*names: str) -> str:
        return ":".join(str(tmp_path / name) if name else "" for name in names)

    access = read(listed("missing", "empty", "a", "", "sub/b", "c"))
    assert (access.context, access.server, access.user.token) == ("two", "http://a:1", "secret-of-a-file")
    other = read(listed("sub/b", "a"))
    assert (other.server, other.authority) == ("https://d.example:6443", "AUTHORITY"), "its own folder's, and https"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "it has no current-context"),
        ("{", "kubeconfig is no YAML .line 1"),
        ("- a", "kubeconfig is no kubeconfig"),
        ("\x00", "kubeconfig is no YAML"),
        ("clusters: 7", "it has no current-context"),
        ("{current-context: x, contexts: 7}", "contexts in .* is no list"),
        ("{current-context: x, contexts: []}", "its current-context names a context that is not there: x$"),
        (
            "{current-context: x, contexts: [{name: y, context: {cluster: c}}]}",
            "names a context that is not there: x; there are y$",
        ),
        (
            "{current-context: x, contexts: [{name: x, context: {cluster: c}}]}",
            "context x names a cluster that is not there: c$",
        ),
        (
            "{current-context: x, contexts: [{name: x, context: {cluster: c}}], clusters: [{name: c, cluster: {}}]}",
            "its cluster c has no server",
        ),
        (
            "{current-context: x, contexts: [{name: x, context: {}}, {name: x, context: {}}]}",
            "has two contexts called x",
        ),
    ],
)
def test_a_kubeconfig_that_cannot_be_used_says_why(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    with pytest.raises(NotConfigured, match=f"KUBECONFIG cannot be used: .*{says}"):
        Cluster(str(path), False, "cryptofunk", Evidence()).pods()


@pytest.mark.parametrize(
    ("cluster", "user", "says"),
    [
        (
            {"certificate-authority": "nowhere.crt"},
            None,
            "certificate-authority .*nowhere.crt cannot be read: No such file",
        ),
        ({"certificate-authority-data": "%%%a"}, None, "certificate-authority-data is no base64"),
        ({}, {"tokenFile": "nowhere"}, "tokenFile .*nowhere cannot be read: No such file"),
        ({}, {"client-certificate-data": "eA==", "client-key-data": "eA=="}, "client-certificate and client-key"),
        ({}, {"exec": {"args": ["x"]}}, "plugin .exec. has no command"),
        ({}, {"auth-provider": {"name": "gcp"}}, "auth-provider gcp gives no token"),
    ],
)
def test_what_it_names_has_to_be_there(
    tmp_path: Path, cluster: dict[str, Any], user: dict[str, Any] | None, says: str
) -> None:
    error = asked(written(tmp_path / "kubeconfig", "https://127.0.0.1:1", user, **cluster))
    assert isinstance(error, NotConfigured)
    assert pytest.raises(NotConfigured, match=says)
    with pytest.raises(NotConfigured, match=says):
        raise error


def test_nothing_configured_and_not_in_a_cluster(tmp_path: Path) -> None:
    with pytest.raises(NotConfigured, match="set KUBECONFIG, or run inside the cluster"):
        Cluster(None, False, "cryptofunk", Evidence()).pods()
    with pytest.raises(NotConfigured, match="service account cannot be used: Service host/port is not set"):
        Cluster(None, True, "cryptofunk", Evidence()).pods()
    with pytest.raises(NotConfigured, match=r"there is no file .*nowhere$"):
        Cluster(str(tmp_path / "nowhere"), False, "cryptofunk", Evidence()).pods()
    with pytest.raises(NotConfigured, match="none of its files is there"):
        Cluster(f"{tmp_path}/nowhere:{tmp_path}/neither", False, "cryptofunk", Evidence()).pods()


def test_home_is_not_expanded_as_kubectl_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    written(tmp_path / "kubeconfig")
    with pytest.raises(NotConfigured, match="there is no file ~/kubeconfig; ~ is not expanded, write the path out"):
        Cluster("~/kubeconfig", False, "cryptofunk", Evidence()).pods()


# Asking.


class Api(BaseHTTPRequestHandler):
    """A server of lists: keeps the headers it was asked with, answers as `reply` says."""

    headers_seen: list[dict[str, str]] = []
    reply: tuple[int, bytes] = (200, b'{"items": [{"metadata": {"name": "api-1"}}]}')

    def do_GET(self) -> None:
        type(self).headers_seen.append({name.title(): value for name, value in self.headers.items()})
        status, body = type(self).reply
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


class Quiet(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *args: Any) -> None:
        """A client that does not trust us hangs up."""


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    servers: list[Quiet] = []

    def start(context: ssl.SSLContext | None = None) -> str:
        server = Quiet(("127.0.0.1", 0), Api)
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}"

    Api.headers_seen, Api.reply = [], (200, b'{"items": [{"metadata": {"name": "api-1"}}]}')
    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def names(path: Path, seconds: float = 5.0) -> list[str]:
    cluster = Cluster(str(path), False, "cryptofunk", Evidence(limit_seconds=seconds))
    try:
        return list(cluster.pods().frame["name"])
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority of our own, and certificates of a server (127.0.0.1) and of a client."""
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=Own authority")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:api.internal\n")
    for name in ("server", "client"):
        openssl("req", "-new", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signed = ("-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2")
        openssl("x509", "-req", *signed, "-extfile", "names", "-out", f"{name}.pem")
    return folder


@pytest.fixture
def secure(authority: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "server.pem", authority / "server.key")
    return context


def encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def test_the_authority_is_read_from_data_and_from_a_file(
    tmp_path: Path, serve: Callable[..., str], secure: ssl.SSLContext, authority: Path
) -> None:
    server = serve(secure)
    trusted = written(tmp_path / "a", server, **{"certificate-authority-data": encoded(authority / "ca.pem")})
    assert names(trusted) == ["api-1"]
    assert names(written(tmp_path / "b", server, **{"certificate-authority": str(authority / "ca.pem")})) == ["api-1"]


def test_a_certificate_that_nobody_trusts(tmp_path: Path, serve: Callable[..., str], secure: ssl.SSLContext) -> None:
    error = asked(written(tmp_path / "kubeconfig", serve(secure)))
    assert isinstance(error, SourceUnavailable)
    assert "its certificate is not accepted (unable to get local issuer certificate)" in str(error)


def test_a_certificate_of_another_name(
    tmp_path: Path, serve: Callable[..., str], secure: ssl.SSLContext, authority: Path
) -> None:
    server, data = serve(secure), {"certificate-authority-data": encoded(authority / "ca.pem")}
    assert "certificate is not accepted" in str(
        asked(written(tmp_path / "a", server, **data, **{"tls-server-name": "elsewhere"}))
    )
    assert names(written(tmp_path / "b", server, **data, **{"tls-server-name": "api.internal"})) == ["api-1"]


def test_no_verification_where_it_is_not_wanted_and_no_warning_of_it(
    tmp_path: Path, serve: Callable[..., str], secure: ssl.SSLContext
) -> None:
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        assert names(written(tmp_path / "a", serve(secure), **{"insecure-skip-tls-verify": True})) == ["api-1"]
    assert [str(warning.message) for warning in shown if "Unverified" in str(warning.message)] == []


def test_a_client_certificate_is_shown(
    tmp_path: Path, serve: Callable[..., str], secure: ssl.SSLContext, authority: Path
) -> None:
    secure.verify_mode = ssl.CERT_REQUIRED
    secure.load_verify_locations(authority / "ca.pem")
    server, data = serve(secure), {"certificate-authority-data": encoded(authority / "ca.pem")}
    user = {
        "client-certificate": str(authority / "client.pem"),
        "client-key-data": encoded(authority / "client.key"),
    }
    assert names(written(tmp_path / "a", server, user, **data)) == ["api-1"]
    assert isinstance(asked(written(tmp_path / "b", server, {}, **data)), SourceUnavailable)


def test_a_server_without_tls(tmp_path: Path, serve: Callable[..., str]) -> None:
    error = asked(written(tmp_path / "kubeconfig", serve().replace("http:", "https:")))
    assert "speaks no TLS; is the server in KUBECONFIG http://" in str(error)


def test_nothing_listens(tmp_path: Path) -> None:
    server = dead_url()
    error = asked(written(tmp_path / "kubeconfig", server))
    assert isinstance(error, SourceUnavailable)
    why = "nothing listens there, or the tunnel to it is closed"
    assert str(error) == f"cluster cannot be reached at {server} ({why}); is KUBECONFIG right?"


def test_a_name_that_nobody_knows(tmp_path: Path) -> None:
    error = asked(written(tmp_path / "kubeconfig", "https://user:hunter22@nowhere.invalid:6443"))
    assert "the name in https://nowhere.invalid:6443 is not known" in str(error)


def test_a_server_that_is_no_address(tmp_path: Path) -> None:
    assert isinstance(asked(written(tmp_path / "kubeconfig", "http://[::1")), NotConfigured)


def test_a_server_that_accepts_and_says_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        path = written(tmp_path / "kubeconfig", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert str(asked(path, 0.3)) == "cluster did not answer in 0.3 s"


def test_the_proxy_of_kubeconfig_is_used(tmp_path: Path, serve: Callable[..., str]) -> None:
    away = {"proxy-url": dead_url()}
    assert "the proxy before it (proxy-url" in str(asked(written(tmp_path / "a", "http://10.0.0.9:80", **away)))
    through = {"proxy-url": serve().replace("//", "//ada:hunter22@")}
    assert names(written(tmp_path / "b", "http://10.0.0.9:80", **through)) == ["api-1"]
    assert Api.headers_seen[0]["Proxy-Authorization"] == "Basic YWRhOmh1bnRlcjIy"


@pytest.mark.parametrize(
    ("user", "sent"),
    [
        ({"token": "cluster-token-1234"}, "Bearer cluster-token-1234"),
        ({"username": "ada", "password": "hunter22"}, "Basic YWRhOmh1bnRlcjIy"),
        ({}, None),
    ],
)
def test_credentials_are_sent(
    tmp_path: Path, serve: Callable[..., str], user: dict[str, Any], sent: str | None
) -> None:
    assert names(written(tmp_path / "kubeconfig", serve(), user)) == ["api-1"]
    assert Api.headers_seen[0].get("Authorization") == sent


def test_who_is_impersonated_is_sent(tmp_path: Path, serve: Callable[..., str]) -> None:
    names(written(tmp_path / "kubeconfig", serve(), {"token": "cluster-token-1234", "as": "reader"}))
    assert Api.headers_seen[0]["Impersonate-User"] == "reader"


def test_a_user_that_is_not_there_is_the_reason_where_nobody_may_ask(tmp_path: Path, serve: Callable[..., str]) -> None:
    path = written(tmp_path / "kubeconfig", serve())
    path.write_text(path.read_text().replace('"user": "u"', '"user": "nobody"'))
    assert names(path) == ["api-1"], "kubectl asks without credentials, and so do we"
    Api.reply = (403, b'{"message": "forbidden: User \\"system:anonymous\\""}')
    assert "without credentials (403): in KUBECONFIG context c names a user that is not there: nobody" in str(
        asked(path)
    )


# Plugins.


def plugin(folder: Path, code: str, **more: Any) -> dict[str, Any]:
    """A user whose credentials a Python program prints."""
    script = folder / "plugin.py"
    script.write_text(f"import json, os, sys, time\nprinted = {PRINTED!r}\n{code}\n")
    return {"exec": {"apiVersion": PRINTED["apiVersion"], "command": sys.executable, "args": [str(script)], **more}}


def test_a_plugin_gives_the_token_and_is_run_once(tmp_path: Path, serve: Callable[..., str]) -> None:
    code = (
        "open(os.environ['COUNT'], 'a').write('x')\n"
        "assert not sys.stdin.read()\n"
        "about = json.loads(os.environ['KUBERNETES_EXEC_INFO'])\n"
        "printed['status']['token'] += about['spec']['cluster']['server'][:4]\n"
        "sys.stderr.write('logging in with password=hunter22\\n')\n"
        "print(json.dumps(printed))"
    )
    env = [{"name": "COUNT", "value": str(tmp_path / "count")}]
    user = plugin(tmp_path, code, env=env, provideClusterInfo=True)
    cluster = Cluster(str(written(tmp_path / "kubeconfig", serve(), user)), False, "cryptofunk", Evidence())
    cluster.pods()
    cluster.deployments()
    assert {headers["Authorization"] for headers in Api.headers_seen} == {"Bearer from-pluginhttp"}
    assert (tmp_path / "count").read_text() == "x"


@pytest.mark.parametrize(
    ("code", "more", "says"),
    [
        (
            "sys.exit('token=abcdefgh12345678 has expired, log in')",
            {},
            r"failed \(1\): token=\[redacted\] has expired, log in",
        ),
        ("sys.exit(3)", {}, r"failed \(3\): it said nothing"),
        ("print('hello')", {}, "printed no ExecCredential"),
        ("printed['status'] = {}\nprint(json.dumps(printed))", {}, "gave neither a token nor a certificate"),
        ("print(json.dumps(printed))", {"apiVersion": "client.authentication.k8s.io/v1beta1"}, "answered in version"),
        ("print(json.dumps(printed))", {"interactiveMode": "Always"}, "needs a terminal"),
        ("", {"command": "no-such-plugin", "installHint": "get it"}, "No such file or directory; get it"),
        ("time.sleep(30)", {}, "did not end in"),
    ],
)
def test_a_plugin_that_gives_nothing_is_the_reason_and_nothing_secret_is_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], code: str, more: dict[str, Any], says: str
) -> None:
    began = time.monotonic()
    error = asked(written(tmp_path / "kubeconfig", user=plugin(tmp_path, code, **more)), seconds=1.0)
    with pytest.raises(SourceUnavailable, match=f"the credential plugin of KUBECONFIG, .*{says}"):
        raise error
    assert time.monotonic() - began < 5
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_a_plugin_that_failed_is_not_run_for_every_question(tmp_path: Path) -> None:
    user = plugin(tmp_path, f"open({str(tmp_path / 'count')!r}, 'a').write('x'); sys.exit('no')")
    cluster = Cluster(str(written(tmp_path / "kubeconfig", user=user)), False, "cryptofunk", Evidence())
    for ask in (cluster.pods, cluster.deployments, cluster.volumes):
        with pytest.raises(SourceUnavailable, match="failed"):
            ask()
    assert (tmp_path / "count").read_text() == "x"


def test_credentials_that_are_refused_are_read_anew(
    tmp_path: Path, serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runbook.sources.cluster.connection._RENEWED_SECONDS", 0.0)
    (tmp_path / "tok").write_text("of-yesterday")
    path = written(tmp_path / "kubeconfig", serve(), {"tokenFile": "tok"})
    cluster = Cluster(str(path), False, "cryptofunk", Evidence())
    cluster.pods()
    (tmp_path / "tok").write_text("of-today")
    Api.reply = (401, b'{"message": "Unauthorized"}')
    with pytest.raises(SourceUnavailable, match=r"does not accept the credentials \(401: Unauthorized\); renew them"):
        cluster.pods()
    assert [headers["Authorization"] for headers in Api.headers_seen] == [
        "Bearer of-yesterday",
        "Bearer of-yesterday",
        "Bearer of-today",
    ]


# What libraries print.


def test_what_libraries_print_is_kept_redacted_and_not_shown(capfd: pytest.CaptureFixture[str]) -> None:
    shown = warnings.showwarning
    try:
        evidence = Evidence(secrets=["hunter22"])
        overheard.listen(evidence.redact)
        overheard.listen(evidence.redact)

        def chatty() -> list[str]:
            logging.getLogger("urllib3.connectionpool").warning("Retrying with %s", "token=abcdefgh12345678")
            logging.getLogger("psycopg.pool").warning("error connecting as hunter22")
            warnings.warn("Unverified HTTPS request to hunter22", UserWarning, stacklevel=1)
            return []

        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = overheard._Warnings(shown)
            warnings.showwarning.redact = evidence.redact  # type: ignore[attr-defined]
            overheard.lines.clear()
            evidence.ask("cluster", "q", {}, "kubectl", chatty)
            assert list(overheard.lines) == [
                "urllib3.connectionpool: Retrying with token=[redacted]",
                "psycopg.pool: error connecting as [redacted]",
                "UserWarning: Unverified HTTPS request to [redacted]",
            ]
        captured = capfd.readouterr()
        assert captured.out + captured.err == ""
    finally:
        warnings.showwarning = shown


def test_a_warning_of_the_readers_own_is_shown_as_ever() -> None:
    seen: list[Any] = []
    overheard._Warnings(lambda *arguments, **_: seen.append(arguments))("mine", UserWarning, "cell", 1)
    assert seen == [("mine", UserWarning, "cell", 1)]


def test_a_refusal_is_not_that_of_a_role_without_a_name(tmp_path: Path, serve: Callable[..., str]) -> None:
    Api.reply = (403, b'{"message": "pods is forbidden"}')
    error = asked(written(tmp_path / "kubeconfig", serve()))
    assert isinstance(error, QueryFailed)
    assert "forbids this to the role (403): pods is forbidden" in str(error)
