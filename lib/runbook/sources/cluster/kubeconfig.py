"""KUBECONFIG as kubectl reads it: a list of files, the first to name a thing wins, paths are relative to the file."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from runbook.errors import NotConfigured

_VERSION = "client.authentication.k8s.io/v1"


@dataclass(frozen=True, slots=True)
class Plugin:
    """A command that prints credentials, by the protocol of client.authentication.k8s.io."""

    command: str
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    api_version: str = _VERSION
    hint: str = ""
    needs_terminal: bool = False
    cluster: Mapping[str, Any] | None = None
    """What it is told of the cluster, where it asks for that."""


@dataclass(frozen=True, slots=True)
class User:
    """How we make ourselves known. Certificate and key are PEM; empty for what is not used.

    `lacks`: why we come without credentials.
    """

    name: str = ""
    token: str = field(default="", repr=False)
    username: str = ""
    password: str = field(default="", repr=False)
    certificate: str = ""
    key: str = field(default="", repr=False)
    plugin: Plugin | None = None
    provider: Mapping[str, Any] | None = field(default=None, repr=False)
    """An auth-provider of old, as it stands in the file."""
    impersonate: Mapping[str, str] = field(default_factory=dict)
    """Headers that name whom to act as."""
    lacks: str = ""


@dataclass(frozen=True, slots=True)
class Access:
    """The API server of the current context, what it is trusted by (`authority`: PEM), and who we are there."""

    context: str
    server: str
    authority: str = ""
    is_verified: bool = True
    server_name: str = ""
    proxy: str = ""
    user: User = User()


Contents = Sequence[tuple[str, Mapping[str, Any]]]
"""What each file of the list holds, with its path."""


def read(setting: str) -> Access:
    """The access that KUBECONFIG's current context gives. Raises NotConfigured with what is wrong, and where."""
    files = [path for path in dict.fromkeys(setting.split(os.pathsep)) if path]
    contents = [(path, content) for path in files if (content := _content(path)) is not None]
    if not contents:
        raise _unusable(_nowhere(files))
    context_name = next((str(name) for _, content in contents if (name := content.get("current-context"))), "")
    if not context_name:
        raise _unusable("it has no current-context; choose one with kubectl config use-context")
    context, _ = _named("context", context_name, contents, "its current-context")
    cluster, place = _named("cluster", str(context.get("cluster") or ""), contents, f"context {context_name}")
    return Access(
        context=context_name,
        server=_server_of(str(context.get("cluster")), cluster),
        authority=_text_of(cluster, "certificate-authority", place),
        is_verified=not cluster.get("insecure-skip-tls-verify"),
        server_name=str(cluster.get("tls-server-name") or ""),
        proxy=str(cluster.get("proxy-url") or ""),
        user=_user_of(context_name, str(context.get("user") or ""), contents, cluster),
    )


def _unusable(reason: str) -> NotConfigured:
    return NotConfigured(f"cluster is not configured: KUBECONFIG cannot be used: {reason}")


def _nowhere(files: list[str]) -> str:
    listed = ", ".join(files[:3])
    reason = f"there is no file {listed}" if len(files) == 1 else f"none of its files is there ({listed})"
    return f"{reason}; ~ is not expanded, write the path out" if listed.startswith("~") else reason


def _content(path: str) -> Mapping[str, Any] | None:
    """What a file of the list holds; None where it is not there, which is passed over."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:  # a name with a NUL, or bytes that are no text
        raise _unusable(f"{path!r} cannot be read ({type(error).__name__})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        raise _unusable(f"{path} is no YAML{where}") from None
    except OSError as error:
        raise _unusable(f"{path} cannot be read: {error.strerror}") from None
    if content is None:
        return {}
    if not isinstance(content, Mapping):
        raise _unusable(f"{path} is no kubeconfig")
    return content


def _named(kind: str, name: str, contents: Contents, wanted_by: str) -> tuple[Mapping[str, Any], Path]:
    """As `_found`. Raises NotConfigured where there is none."""
    found = _found(kind, name, contents)
    if found is None:
        raise _unusable(_absent(kind, name, contents, wanted_by))
    return found


def _found(kind: str, name: str, contents: Contents) -> tuple[Mapping[str, Any], Path] | None:
    """(the context, cluster or user of that name, the folder of its file): of the first file that has it."""
    for path, content in contents:
        of_name = [entry[kind] for entry in _entries(path, content, kind) if entry.get("name") == name]
        if len(of_name) > 1:
            raise _unusable(f"{path} has two {kind}s called {name}")
        if of_name:
            return of_name[0], Path(path).resolve().parent
    return None


def _absent(kind: str, name: str, contents: Contents, wanted_by: str) -> str:
    known = [str(entry.get("name")) for path, content in contents for entry in _entries(path, content, kind)]
    others = f"; there are {', '.join(known[:5])}" if known else ""
    return f"{wanted_by} names a {kind} that is not there: {name or 'none'}{others}"


def _server_of(name: str, cluster: Mapping[str, Any]) -> str:
    server = str(cluster.get("server") or "")
    if not server:
        raise _unusable(f"its cluster {name} has no server")
    address = (server if "://" in server else f"https://{server}").rstrip("/")
    try:
        parts = urlsplit(address)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address:
        raise _unusable(f"the server of its cluster {name} is no address of http or https")
    return address


def _entries(path: str, content: Mapping[str, Any], kind: str) -> list[Mapping[str, Any]]:
    entries = content.get(f"{kind}s") or []
    if not isinstance(entries, list):
        raise _unusable(f"{kind}s in {path} is no list")
    return [entry for entry in entries if isinstance(entry, Mapping) and isinstance(entry.get(kind), Mapping)]


def _user_of(context_name: str, name: str, contents: Contents, cluster: Mapping[str, Any]) -> User:
    """The context's user; as with kubectl one without credentials, where there is none of that name."""
    found = _found("user", name, contents)
    if found is None:
        return User(lacks=_absent("user", name, contents, f"context {context_name}"))
    about, place = found
    return _user(name, about, place, cluster)


def _user(name: str, about: Mapping[str, Any], place: Path, cluster: Mapping[str, Any]) -> User:
    token = str(about.get("token") or "")
    if about.get("tokenFile"):  # it may be renewed, so it comes first
        token = _read_file(place / str(about["tokenFile"]), "tokenFile")
    return User(
        name=name,
        token=token.strip(),
        username=str(about.get("username") or ""),
        password=str(about.get("password") or ""),
        certificate=_text_of(about, "client-certificate", place),
        key=_text_of(about, "client-key", place),
        plugin=_plugin(about["exec"], place, cluster) if isinstance(about.get("exec"), Mapping) else None,
        provider=about["auth-provider"] if isinstance(about.get("auth-provider"), Mapping) else None,
        impersonate=_impersonated(about),
    )


def _impersonated(about: Mapping[str, Any]) -> dict[str, str]:
    headers = {"Impersonate-User": about.get("as"), "Impersonate-Uid": about.get("as-uid")}
    return {name: str(value) for name, value in headers.items() if value}


def _plugin(about: Mapping[str, Any], place: Path, cluster: Mapping[str, Any]) -> Plugin:
    command = str(about.get("command") or "")
    if not command:
        raise _unusable("its credential plugin (exec) has no command")
    if os.sep in command:  # a bare name is looked for on the PATH
        command = str(place / command)
    return Plugin(
        command,
        tuple(map(str, about.get("args") or ())),
        {str(pair["name"]): str(pair["value"]) for pair in about.get("env") or ()},
        str(about.get("apiVersion") or _VERSION),
        str(about.get("installHint") or ""),
        needs_terminal=about.get("interactiveMode") == "Always",
        cluster=_told(cluster) if about.get("provideClusterInfo") else None,
    )


def _told(cluster: Mapping[str, Any]) -> dict[str, Any]:
    """The cluster as plugins are told of it."""
    names = ("server", "tls-server-name", "insecure-skip-tls-verify", "certificate-authority-data", "proxy-url")
    told = {name: cluster[name] for name in names if name in cluster}
    for extension in cluster.get("extensions") or ():
        if extension.get("name") == "client.authentication.k8s.io/exec":
            told["config"] = extension.get("extension")
    return told


def _text_of(about: Mapping[str, Any], key: str, place: Path) -> str:
    """The PEM text that `key`-data holds in base64, else that of the file that `key` names; empty for neither."""
    data = about.get(f"{key}-data")
    if data:
        try:
            return base64.b64decode(str(data), validate=False).decode()
        except (binascii.Error, ValueError):
            raise _unusable(f"{key}-data is no base64") from None
    return _read_file(place / str(about[key]), key) if about.get(key) else ""


def _read_file(path: Path, key: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise _unusable(f"its {key} {path} cannot be read: {why}") from None
