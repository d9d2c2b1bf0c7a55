"""HighErrorRate: errors by status, path, component and log, since when, and the decision."""

from __future__ import annotations

from runbook.steps.error_rates.api_requests import api, paths
from runbook.steps.error_rates.component_errors import components, refused
from runbook.steps.error_rates.figures import Api, Components
from runbook.steps.error_rates.log_lines import logs
from runbook.steps.error_rates.verdict import decide

__all__ = [
    "Api",
    "Components",
    "api",
    "components",
    "decide",
    "logs",
    "paths",
    "refused",
]
