"""The status of a check from what it found."""

from __future__ import annotations

from runbook.outcome import Status


def graded(critical: object, warning: object = False, unsure: object = False) -> Status:
    """Critical or warning where the one or the other holds (a bool, a count, names), unknown where unsure, else ok."""
    if critical:
        return Status.CRITICAL
    if warning:
        return Status.WARNING
    return Status.UNKNOWN if unsure else Status.OK
