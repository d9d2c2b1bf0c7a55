"""How long a question may take."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Deadline:
    """Until when (time.monotonic) something has to be done, which may take so many seconds in all."""

    at: float
    limit_seconds: float

    @classmethod
    def of(cls, limit_seconds: float) -> Deadline:
        """A little before the limit, so that why there is no answer can be told."""
        return cls(time.monotonic() + 0.95 * limit_seconds, limit_seconds)

    @property
    def with_time_to_tell(self) -> Deadline:
        """So much earlier that what was read until then can be made into an answer."""
        return Deadline(self.at - 0.15 * self.limit_seconds, self.limit_seconds)

    @property
    def left_seconds(self) -> float:
        return self.at - time.monotonic()
