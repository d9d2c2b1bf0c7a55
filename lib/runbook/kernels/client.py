"""A Jupyter client that knows a warm kernel is up: ready in milliseconds instead of a fifth of a second."""

from __future__ import annotations

import time
from typing import Any

from jupyter_client.asynchronous.client import AsyncKernelClient

_READY_SECONDS = 60.0


class PromptClient(AsyncKernelClient):
    """AsyncKernelClient, ready as soon as the kernel's answer and the end of its output for it are both here.

    jupyter_client's own waits until the output channel was silent for 0.2 s; by the protocol that channel
    says `idle` at the end of every request, which is exactly the silence it waits for.
    """

    async def _async_wait_for_ready(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  (its name there)
        until = time.monotonic() + (timeout or _READY_SECONDS)
        while time.monotonic() < until:
            asked = self.kernel_info()
            # The subscription may not have arrived yet, and then the output is lost: ask again.
            if await self._idle_after(asked, seconds=0.1):
                reply = await self._reply_to(asked)
                if reply is not None:
                    self._handle_kernel_info_reply(reply)
                    return
            if not await self._async_is_alive():
                raise RuntimeError("Kernel died before replying to kernel_info")
        raise RuntimeError(f"Kernel didn't respond in {timeout or _READY_SECONDS:.0f} seconds")

    wait_for_ready = _async_wait_for_ready

    async def _idle_after(self, asked: str, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            message = await self._message(self.iopub_channel, left)
            if message is not None and _is_idle(message) and message["parent_header"].get("msg_id") == asked:
                return True
        return False

    async def _reply_to(self, asked: str) -> dict[str, Any] | None:
        while (message := await self._message(self.shell_channel, 1.0)) is not None:
            if message["parent_header"].get("msg_id") == asked:
                return message
        return None

    async def _message(self, channel: Any, seconds: float) -> dict[str, Any] | None:
        from queue import Empty

        try:
            message: dict[str, Any] = await channel.get_msg(timeout=seconds)
        except Empty:
            return None
        return message


def _is_idle(message: dict[str, Any]) -> bool:
    return bool(message["msg_type"] == "status" and message["content"]["execution_state"] == "idle")
