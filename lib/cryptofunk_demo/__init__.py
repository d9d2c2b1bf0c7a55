"""The simulated platform: market, trading, metrics, cluster and logs of one incident, all from one seed.

Start it with `cryptofunk_demo.platform.Platform`; choose an incident from `cryptofunk_demo.incidents`. It knows of
`runbook` only the errors, the alert, the embedded PostgreSQL and the settings; of `runbook` only the CLI knows it.
"""

from cryptofunk_demo.moment import AS_OF, MOMENT, SEED

__all__ = ["AS_OF", "MOMENT", "SEED"]
