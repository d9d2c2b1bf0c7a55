"""HighResourceUsage: which pod, against which limit, leak or burst, the new limit, and the decision."""

from __future__ import annotations

from runbook.steps.resources.leaks import at_the_rise, heap_profile, leak_or_burst
from runbook.steps.resources.observations import affected, history, limits, oom_history, throttling, top_pods, usage
from runbook.steps.resources.verdict import decide, proposal

__all__ = [
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
