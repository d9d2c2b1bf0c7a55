"""Lock files, as advisory locks on descriptors. The system gives them back however their holder dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

OWNERS = "owners.lock"
SUPERVISOR = "supervisor.lock"


def open_lock(path: Path) -> int:
    """A descriptor to lock with; programs that are run do not inherit it."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def try_lock(descriptor: int, how: int) -> bool:
    """Take a lock (fcntl.LOCK_SH or LOCK_EX) if it can be had this moment."""
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def has_supervisor(folder: Path) -> bool:
    """Whether a supervisor looks after the server of `folder`."""
    return folder.is_dir() and not _is_free(folder / SUPERVISOR, fcntl.LOCK_SH)


def has_owners(folder: Path) -> bool:
    """Whether a process owns the server. The supervisor's exclusive lock, at the end, is no owner's."""
    return _is_free(folder / OWNERS, fcntl.LOCK_SH) and not _is_free(folder / OWNERS, fcntl.LOCK_EX)


def _is_free(path: Path, how: int) -> bool:
    descriptor = open_lock(path)
    try:
        return try_lock(descriptor, how)
    finally:
        os.close(descriptor)
