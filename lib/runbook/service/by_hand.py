"""What to type where there is no report: the run itself, then the procedure's own first commands."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from datetime import datetime

from runbook.service.context import Context


def commands(
    context: Context, procedure: str, name: str, labels: Mapping[str, str], starts_at: datetime
) -> tuple[str, ...]:
    """Lines for a shell, of the alert called `name`: its run, and what its procedure begins with."""
    given = {label: value for label, value in sorted(labels.items()) if label != "alertname"}
    words = ["runbook", "run", name]
    for label, value in given.items():
        words += ["--label", f"{label}={value}"]
    words += ["--starts-at", f"{starts_at:%Y-%m-%dT%H:%M:%SZ}"]
    return (shlex.join(words), *context.catalog.first_commands(procedure, labels, context.settings.kube_namespace))
