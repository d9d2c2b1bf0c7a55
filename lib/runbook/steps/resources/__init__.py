"""HighResourceUsage: which pod, against which limit, leak or burst, the new limit, and the decision."""

from __future__ import annotations

from runbook.steps.resources.container import history, limits, oom_history, throttling
from runbook.steps.resources.figures import HeapProfile, Throttling, UsageHistory
from runbook.steps.resources.pods import affected, top_pods, usage
from runbook.steps.resources.profiles import heap_profile
from runbook.steps.resources.proposals import proposal
from runbook.steps.resources.rises import at_the_rise
from runbook.steps.resources.trends import leak_or_burst
from runbook.steps.resources.verdict import decide

__all__ = [
    "HeapProfile",
    "Throttling",
    "UsageHistory",
    "affected",
    "at_the_rise",
    "decide",
    "heap_profile",
    "history",
    "leak_or_burst",
    "limits",
    "oom_history",
    "proposal",
    "throttling",
    "top_pods",
    "usage",
]
