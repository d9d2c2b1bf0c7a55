"""Warm kernels without any process: sizes, messages, environments."""

from __future__ import annotations

import os
import random
import socket
import sys
from pathlib import Path

import numpy as np
import pytest

from runbook.kernels import WarmUnavailable, fork_kernel, forked, size, spec, status, wire
from runbook.kernels.size import Machine, idle_kernels


@pytest.mark.parametrize(
    ("wanted", "machine", "kept"),
    [
        pytest.param(4, Machine(8_000, 0.5, 2), 4, id="plenty"),
        pytest.param(4, Machine(520, 0.5, 2), 2, id="memory for two"),
        pytest.param(4, Machine(100, 0.5, 2), 0, id="no memory"),
        pytest.param(4, Machine(8_000, 9.0, 2), 1, id="the processors are behind"),
        pytest.param(0, Machine(8_000, 0.5, 2), 0, id="none wanted"),
    ],
)
def test_idle_kernels_follow_memory_and_load(wanted: int, machine: Machine, kept: int) -> None:
    assert idle_kernels(wanted, machine) == kept


def test_machine_and_memory_are_read_from_this_system() -> None:
    assert size.machine().available_mb > 0
    assert 1 < size.pss_mb(os.getpid()) < 2_000
    assert size.pss_mb(2**22) == 0.0


def test_a_message_arrives_whole_with_its_files(tmp_path: Path) -> None:
    one, other = wire.pair()
    environment = {f"NAME_{number}": "x" * 1_000 for number in range(200)}
    with one, other, (tmp_path / "file").open("w") as file:
        wire.send(one, {"environment": environment, "odd": os.fsdecode(b"\xff")}, (file.fileno(),))
        message, files = wire.receive(other)
        assert message == {"environment": environment, "odd": os.fsdecode(b"\xff")}
        os.write(files[0], b"through")
        os.close(files[0])
    assert (tmp_path / "file").read_text() == "through"


def test_the_end_of_the_peer_is_told_apart_from_nonsense() -> None:
    one, other = wire.pair()
    with other:
        one.send(b"[1, 2]")
        with pytest.raises(ConnectionError):
            wire.receive(other)
        one.close()
        assert wire.receive(other) == (None, ())


def test_a_peer_of_this_user_is_known() -> None:
    one, other = wire.pair()
    with one, other:
        assert wire.is_same_user(one)


def test_no_zygote_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(WarmUnavailable, match="no zygote"):
        status(str(tmp_path / "nothing"))
    with pytest.raises(WarmUnavailable, match="no zygote"):
        fork_kernel(str(tmp_path / "nothing"), {}, str(tmp_path))


def test_a_zygote_that_ends_in_the_middle_is_unavailable(tmp_path: Path) -> None:
    listener = wire.new_socket()
    listener.bind(str(tmp_path / "zygote"))
    listener.listen(1)
    with listener:
        import threading

        def hang_up() -> None:
            end, _ = listener.accept()
            wire.receive(end)
            end.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(WarmUnavailable, match="ended"):
            fork_kernel(str(tmp_path / "zygote"), {}, str(tmp_path))
        thread.join()


def test_reseeding_draws_new_numbers() -> None:
    drawn = []
    for _ in range(2):
        random.seed(1)
        np.random.seed(1)
        forked.reseed()
        drawn.append((random.random(), float(np.random.random())))
    assert drawn[0][0] != drawn[1][0]
    assert drawn[0][1] != drawn[1][1]


def test_pythonpath_of_the_request_replaces_that_of_the_zygote(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["/ours", "/zygote/one", "/lib"])
    forked._move_pythonpath("/zygote/one:/zygote/two", "/request")
    assert sys.path == ["/request", "/ours", "/lib"]


def test_the_kernelspec_names_the_provisioner_that_is_installed() -> None:
    from importlib.metadata import entry_points

    told = spec.kernel_json()["metadata"]
    assert isinstance(told, dict)
    name = told["kernel_provisioner"]["provisioner_name"]
    (found,) = entry_points(group="jupyter_client.kernel_provisioners", name=name)
    assert found.load().__name__ == "WarmProvisioner"


def test_a_packet_too_large_is_refused_not_cut() -> None:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with one, other, pytest.raises(OSError):
        wire.send(one, {"environment": {"A": "x" * 50_000_000}})
