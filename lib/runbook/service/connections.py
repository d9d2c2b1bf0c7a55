"""uvicorn's connections with a limit on the time that a request may take to arrive."""

from __future__ import annotations

import asyncio
import logging

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

_log = logging.getLogger(__name__)
# Longer than what reads bodies allows itself, so that a slow message gets its answer.
ARRIVAL_SECONDS = 40.0
_COMING = (h11.IDLE, h11.SEND_BODY)


class Connection(H11Protocol):
    """A connection that is closed when a request, its head and its body, takes longer than ARRIVAL_SECONDS to come.

    uvicorn itself waits for ever: a few senders of a byte a minute would hold all the connections there are.
    """

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state in _COMING and not self.transport.is_closing():
            self._expect()
        else:
            self._arrived()

    def connection_lost(self, exc: Exception | None) -> None:
        self._arrived()
        super().connection_lost(exc)

    def _expect(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(ARRIVAL_SECONDS, self._give_up)

    def _arrived(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        _log.warning("a request took over %g s to arrive; its connection is closed", ARRIVAL_SECONDS)
        self.transport.abort()
