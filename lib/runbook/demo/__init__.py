"""The simulated platform: market, trading, metrics, cluster and logs of one incident, all from one seed.

Start it with `runbook.demo.platform.Platform`; choose an incident from `runbook.demo.incidents`.
"""

from runbook.demo.moment import AS_OF, MOMENT, SEED

__all__ = ["AS_OF", "MOMENT", "SEED"]
