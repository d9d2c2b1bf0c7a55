"""Findings with figures by string key, for the steps that are not typed yet. Gone when the last of them is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from runbook import findings
from runbook.findings import Table
from runbook.outcome import Status
from runbook.sources.evidence import Answer


@dataclass(frozen=True, init=False)
class Finding(findings.Finding[Any]):
    series: Mapping[str, Any] = field(default_factory=dict)

    def __init__(
        self,
        id: str,  # noqa: A002
        status: Status,
        title: str,
        detail: str = "",
        figures: Any = None,
        tables: tuple[Table, ...] = (),
        series: Mapping[str, Any] | None = None,
        answers: tuple[Answer, ...] = (),
    ) -> None:
        findings.Finding.__init__(self, status, title, detail, figures or {}, tables, id, answers)
        object.__setattr__(self, "series", series or {})
