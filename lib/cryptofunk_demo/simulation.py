"""Everything simulated of one incident, before it is written anywhere: the one value all parts are made from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np

from cryptofunk_demo import accounts, market, trading
from cryptofunk_demo.accounts import Account
from cryptofunk_demo.decisions import halted_at
from cryptofunk_demo.incident import Incident
from cryptofunk_demo.market import Market
from cryptofunk_demo.moment import MOMENT
from cryptofunk_demo.trading import Session


@dataclass(frozen=True)
class Simulation:
    """An incident played through: market, sessions (the last is open) and their accounts."""

    incident: Incident
    seed: int
    market: Market
    sessions: list[Session]
    accounts: list[Account]

    @property
    def session(self) -> Session:
        return self.sessions[-1]

    @property
    def account(self) -> Account:
        return self.accounts[-1]

    @property
    def paper_peak(self) -> float:
        """The highest value, USDT, that the earlier paper session reached."""
        return float(self.accounts[1].peak[-1])

    @property
    def facts(self) -> dict[str, float]:
        """Figures that an incident's texts may name, at the alert's moment."""
        last = int((MOMENT - self.session.started_at).total_seconds() // 30)
        value = float(self.account.total_value[last])
        return {
            "drawdown": float(self.account.drawdown[last]),
            "equity": value,
            "stale_drawdown": 1 - value / self.paper_peak,
            "paper_peak": self.paper_peak,
            "total_pnl": float(self.account.total_pnl[last]),
        }

    @property
    def is_halted(self) -> bool:
        return halted_at(self.session, self.incident)[0] is not None


def simulate(incident: Incident, seed: int) -> Simulation:
    """The incident's simulation; the same seed gives the same, number by number."""
    candles = market.simulate(seed, incident.shocks, incident.calm)
    sessions = trading.simulate(incident, candles, seed)
    return Simulation(incident, seed, candles, sessions, [accounts.account(s, candles) for s in sessions])


@cache
def version() -> str:
    """A digest of the simulation's code: what was cached by another version is not used."""
    digest = hashlib.sha256(np.__version__.encode())
    for folder in (resources.files("cryptofunk_demo"), resources.files("cryptofunk_demo") / "schema"):
        for file in sorted(folder.iterdir(), key=lambda f: f.name):
            if file.name.endswith((".py", ".sql")):
                digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()[:12]
