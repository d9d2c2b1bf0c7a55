"""What to type where there is no report: the run itself, then the procedure's own first commands."""

from __future__ import annotations

import shlex

from runbook.history.rows import StoredAlert
from runbook.service.context import Context


def commands(context: Context, alert: StoredAlert) -> tuple[str, ...]:
    """Lines for a shell: the alert's run, and what its procedure begins with."""
    words = ["runbook", "run", alert.name]
    if not context.catalog.entry(alert.name).is_known:
        words.append("--any")
    for label, value in sorted(alert.labels.items()):
        if label != "alertname":
            words += ["--label", f"{label}={value}"]
    words += ["--starts-at", f"{alert.starts_at:%Y-%m-%dT%H:%M:%SZ}"]
    namespace = context.settings.kube_namespace
    return (shlex.join(words), *context.catalog.first_commands(alert.procedure, alert.labels, namespace))
