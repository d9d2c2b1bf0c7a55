"""The demo's old address."""

from __future__ import annotations


def test_an_incident_written_for_the_old_address_still_loads() -> None:
    """Incidents written elsewhere import their data model from `runbook.demo`, where it was."""
    from cryptofunk_demo import incident, incidents, moment
    from cryptofunk_demo.simulation import simulate
    from runbook.demo import incidents as old
    from runbook.demo.incident import AlertSpec, Event, Incident, LogLine, Override, PodState
    from runbook.demo.market import Shock
    from runbook.demo.moment import MOMENT, SEED
    from runbook.demo.workloads import BY_NAME

    written = Incident(
        name="written-elsewhere",
        title="The agent's image has no such program",
        cause="image",
        alert=AlertSpec("AgentDown", {"severity": "warning"}, {"summary": "down"}, "cryptofunk_agent_status == 0"),
        shocks=(Shock(-20, -9, -0.01),),
        overrides=(Override("cryptofunk_agent_status", 0.0, labels={"agent_type": "trend"}, start_minute=-5),),
        logs=(LogLine("trend-agent", -5, "error", "cannot start"),),
        pods=(PodState("trend-agent", ready=False, waiting="CreateContainerError", minute=-5),),
        events=(Event("trend-agent", -1, "Failed", f"no such file in {BY_NAME['trend-agent'].pod}", count=14),),
    )

    assert type(written) is incident.Incident
    assert MOMENT is moment.MOMENT
    assert simulate(written, SEED).incident is written
    assert old is incidents
