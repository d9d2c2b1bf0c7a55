"""What the runner hands to the executor, and what it hears back: all that the two of them and the engine share."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

Emit = Callable[[dict[str, Any]], None]
"""Takes one event, {"event": its kind, …}. Kinds: plan (cells), cell_started, finding, cell_finished (error: its first
line or ""), kernel_died, done; and notebook (the notebook itself, None once it is on the disk again) where it cannot
be written."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What to execute: notebook, checked parameters, where the executed one goes, and a private folder."""

    run_id: str
    notebook: str
    output: str
    private: str
    parameters: dict[str, Any] = field(default_factory=dict)

    def to_text(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Spec:
        return cls(**json.loads(text))
