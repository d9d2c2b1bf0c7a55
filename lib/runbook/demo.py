"""The words in which incidents are written, under their old address. They live in `cryptofunk_demo`.

Incidents that were written elsewhere begin with `from runbook.demo.incident import Incident`. They get the very same
classes. Nothing of ours imports this module.
"""

from __future__ import annotations

import sys

from cryptofunk_demo import agents, incident, incidents, market, moment, workloads

__all__ = ["agents", "incident", "incidents", "market", "moment", "workloads"]

# Python looks for `runbook.demo.incident` here once it has imported `runbook.demo`.
for _module in (agents, incident, incidents, market, moment, workloads):
    sys.modules[_module.__name__.replace("cryptofunk_demo", __name__)] = _module
