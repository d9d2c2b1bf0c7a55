"""Messages between owners, zygote and forks: one JSON object a packet, with open files where needed."""

from __future__ import annotations

import json
import os
import socket
import struct
from typing import Any

PACKET_MAX = 1 << 20
_FILES_MAX = 8
_CREDENTIALS = struct.Struct("3i")


def new_socket() -> socket.socket:
    """A packet socket: a message arrives whole or not at all, and an end of file says that the peer is gone."""
    return roomy(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))


def roomy(end: socket.socket) -> socket.socket:
    """`end`, with room for a large environment in one packet."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PACKET_MAX)
    return end


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected packet sockets."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return roomy(one), roomy(other)


def send(end: socket.socket, message: dict[str, Any], files: tuple[int, ...] = ()) -> None:
    """Send one message. Raises OSError: too large, or nobody there."""
    data = json.dumps(message).encode("utf-8", errors="surrogateescape")
    if files:
        socket.send_fds(end, [data], list(files))
    else:
        end.send(data)


def receive(end: socket.socket) -> tuple[dict[str, Any] | None, tuple[int, ...]]:
    """The next message and the files that came with it; None at the end. Raises OSError and BlockingIOError."""
    data, files, flags, _ = socket.recv_fds(end, PACKET_MAX, _FILES_MAX)
    if not data:
        return None, ()
    message = None if flags & socket.MSG_TRUNC else _object(data)
    if message is None:
        for file in files:
            os.close(file)
        raise ConnectionError("not a message of ours")
    return message, tuple(files)


def is_same_user(end: socket.socket) -> bool:
    """Whether the peer runs as this user (the kernel's word, not the peer's)."""
    told = end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return bool(_CREDENTIALS.unpack(told)[1] == os.getuid())


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        message = json.loads(data.decode("utf-8", errors="surrogateescape"))
    except ValueError:
        return None
    return message if isinstance(message, dict) else None
