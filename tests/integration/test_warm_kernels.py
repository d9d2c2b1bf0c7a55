"""Warm kernels as they are used: nothing leaks from one to the next, and nothing stays behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jupyter_client.session
import nbformat
import psutil
import pytest
import zmq
from jupyter_client.manager import AsyncKernelManager

from runbook import embedded
from runbook.kernels import (
    Fork,
    Warm,
    WarmUnavailable,
    available,
    fork_call,
    fork_kernel,
    owner,
    provisioner,
    size,
    spec,
    status,
)

pytestmark = pytest.mark.skipif(not available(), reason="warm kernels need Linux")

PATIENCE = 30.0


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    with Warm(kernels=1) as one:
        one.wait_ready(idle=1)
        yield one


@pytest.fixture
def own_warm() -> Iterator[Warm]:
    """A zygote for one test, which may kill it."""
    with Warm(kernels=1) as one:
        one.wait_ready(idle=1)
        yield one


class Session:
    """A warm kernel and a client of it, without an event loop: `run(code)` -> what it prints."""

    def __init__(self, warm: Warm, environment: dict[str, str] | None = None, folder: Path | None = None) -> None:
        self.fork = fork_kernel(warm.address, environment or dict(os.environ), str(folder or Path.cwd()))
        told = dict(self.fork.connection or {})
        self.session = jupyter_client.session.Session(key=told["key"].encode())
        self.context = zmq.Context()
        self.shell = self._connect(zmq.DEALER, told, "shell_port")
        self.iopub = self._connect(zmq.SUB, told, "iopub_port")
        self.iopub.subscribe(b"")
        assert wait_for(lambda: self._ask("kernel_info_request", {}, seconds=0.2) is not None)

    def run(self, code: str) -> str:
        printed = self._ask("execute_request", {"code": code, "silent": False, "allow_stdin": False}, PATIENCE)
        assert printed is not None, "the kernel does not answer"
        return printed.strip()

    def _ask(self, kind: str, content: dict[str, Any], seconds: float) -> str | None:
        asked = self.session.send(self.shell, kind, content)["header"]["msg_id"]
        printed = ""
        while self.iopub.poll(int(seconds * 1000)):
            message = self.session.recv(self.iopub)[1]
            if message["parent_header"].get("msg_id") != asked:
                continue
            said = message["content"]
            if message["msg_type"] == "stream":
                printed += said["text"]
            elif message["msg_type"] == "error":
                printed += f"{said['ename']}: {said['evalue']}"
            elif said.get("execution_state") == "idle":
                return printed
        return None

    def _connect(self, kind: int, told: dict[str, Any], port: str) -> Any:
        end = self.context.socket(kind)
        end.connect(f"ipc://{told['ip']}-{told[port]}")
        return end

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *raised: object) -> None:
        self.context.destroy(linger=0)
        self.fork.close()


def wait_for(condition: Callable[[], Any]) -> Any:
    """What `condition` first says that is true, else what it says last: asked once more it may say something else."""
    until = time.monotonic() + PATIENCE
    while not (found := condition()) and time.monotonic() < until:
        time.sleep(0.02)
    return found


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def idle(warm: Warm) -> list[int]:
    return [int(pid) for pid, state in status(warm.address)["pids"].items() if state == "idle"]


# What each run does to its process, and what the next one must see of it.
LEAKS = {
    "environment": ("import os; os.environ['LEFT'] = 'yes'", "import os; print(os.environ.get('LEFT'))", "None"),
    "module": (
        "import sys, types; sys.modules['left'] = types.ModuleType('left')",
        "import sys; print('left' in sys.modules)",
        "False",
    ),
    "module changed": (
        "import runbook.tables; runbook.tables.left = 1",
        "import runbook.tables; print(hasattr(runbook.tables, 'left'))",
        "False",
    ),
    "matplotlib": (
        "import matplotlib; matplotlib.rcParams['font.size'] = 77.0",
        "import matplotlib; print(matplotlib.rcParams['font.size'] == 77.0)",
        "False",
    ),
    "pandas": (
        "import pandas as pd; pd.set_option('display.max_rows', 7)",
        "import pandas as pd; print(pd.get_option('display.max_rows') == 7)",
        "False",
    ),
    "names": ("left = 1", "print('left' in globals())", "False"),
    "folder": ("import os; os.chdir('/')", "import os; print(os.getcwd() == '/')", "False"),
    "time zone": (
        "import os, time; os.environ['TZ'] = 'Asia/Tokyo'; time.tzset()",
        "import time; print(time.tzname[0] == 'JST')",
        "False",
    ),
    "history": ("secret = 'typed'", "print([line for line in In if 'typed' in line and 'In' not in line])", "[]"),
    "umask": (
        "import os; os.umask(0o111)",
        "import os; old = os.umask(0); os.umask(old); print(old == 0o111)",
        "False",
    ),
    "hook": ("import sys; sys.settrace(lambda *a: None)", "import sys; print(sys.gettrace())", "None"),
}


def test_no_state_of_one_run_is_seen_by_the_next(warm: Warm) -> None:
    with Session(warm) as first:
        for do, _, _ in LEAKS.values():
            assert first.run(do) == ""
        with Session(warm) as beside:
            seen = {name: beside.run(look) for name, (_, look, _) in LEAKS.items()}
    with Session(warm) as after:
        later = {name: after.run(look) for name, (_, look, _) in LEAKS.items()}
    expected = {name: value for name, (_, _, value) in LEAKS.items()}
    assert seen == expected
    assert later == expected


def test_environment_and_folder_are_those_of_the_request(warm: Warm, tmp_path: Path) -> None:
    os.environ["OF_THE_OWNER"] = "1"
    try:
        environment = {"PATH": os.environ["PATH"], "DATABASE_URL": "postgresql://nobody@nowhere/none", "TZ": "UTC"}
        with Session(warm, environment, tmp_path) as session:
            assert session.run("import os; print(sorted(n for n in os.environ if n != 'MPLBACKEND'))") == str(
                sorted(environment)
            )
            assert session.run("import os; print(os.getcwd())") == str(tmp_path)
            assert (
                session.run("import subprocess; print(subprocess.check_output(['env']).decode())").count(
                    "DATABASE_URL="
                )
                == 1
            )
    finally:
        del os.environ["OF_THE_OWNER"]


def test_every_run_draws_its_own_random_numbers(warm: Warm) -> None:
    look = "import random, numpy, uuid; print(random.random(), numpy.random.random(), uuid.uuid4())"
    drawn = []
    for _ in range(3):
        with Session(warm) as session:
            drawn.append(session.run(look).split())
    for column in zip(*drawn, strict=True):
        assert len(set(column)) == 3


def test_no_socket_connection_or_temporary_file_is_inherited(
    warm: Warm, postgres: embedded.Server, tmp_path: Path
) -> None:
    os.environ["TEST_DSN"] = postgres.url()
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    connect = (
        "import os, psycopg, tempfile, socket; held = psycopg.connect(os.environ['TEST_DSN']); "
        "file = tempfile.NamedTemporaryFile(); listening = socket.create_server(('127.0.0.1', 0)); "
        "print(held.info.backend_pid, file.name, listening.getsockname()[1])"
    )
    look = (
        "import os, psutil; me = psutil.Process(); "
        "print(*[f.path for f in me.open_files() if 'warm' not in f.path], "
        "*[(c.raddr and c.raddr.port) or c.laddr.port for c in me.net_connections('inet')])"
    )
    count = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s"
    try:
        with Session(warm, dict(os.environ) | {"TMPDIR": str(temporary)}) as first:
            backend, name, listening = first.run(connect).split()
            assert Path(name).parent == temporary
            with Session(warm) as second:
                held = first.run(look).split()
                assert {name, listening, str(postgres.port)} <= set(held)  # else the next line sees nothing
                assert not set(second.run(look).split()) & set(held)
                assert second.run("import tempfile; print(tempfile.gettempdir())") != str(temporary)
        ask = (
            "import os, psycopg; print(psycopg.connect(os.environ['TEST_DSN'])"
            f".execute({count!r}, [{backend}]).fetchone()[0])"
        )
        with Session(warm) as third:
            assert wait_for(lambda: third.run(ask) == "0")
    finally:
        del os.environ["TEST_DSN"]


def test_zygote_has_one_thread_and_forks_hold_none_of_its_sockets(warm: Warm) -> None:
    assert len(list(Path(f"/proc/{warm.pid}/task").iterdir())) == 1

    def sockets(pid: int) -> set[str]:
        found = set()
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            target = str(descriptor.readlink())
            found |= {target} if target.startswith("socket:") else set()
        return found

    with Session(warm) as one, Session(warm) as two:
        assert not sockets(warm.pid) & sockets(one.fork.pid)
        assert not sockets(one.fork.pid) & sockets(two.fork.pid)


def test_four_at_once(warm: Warm) -> None:
    def one(number: int) -> str:
        with Session(warm) as session:
            session.run(f"mine = {number}; import time; time.sleep(0.2)")
            return session.run("print(mine)")

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(one, range(8))) == [str(number) for number in range(8)]


def test_a_kernel_is_used_once(warm: Warm) -> None:
    pids = []
    for _ in range(3):
        with Session(warm) as session:
            pids.append(session.fork.pid)
        assert wait_for(lambda: not lives(pids[-1]))
    assert len(set(pids)) == 3


def test_a_dead_idle_kernel_is_replaced(warm: Warm) -> None:
    victim = wait_for(lambda: idle(warm))[0]
    before = status(warm.address)["replaced"]
    os.kill(victim, signal.SIGKILL)
    assert wait_for(lambda: bool(set(idle(warm)) - {victim})), status(warm.address)
    assert status(warm.address)["replaced"] > before


def test_a_hung_idle_kernel_is_passed_over(warm: Warm) -> None:
    """It does not answer: it is killed, and the request gets another."""
    hung = wait_for(lambda: idle(warm))[0]
    os.kill(hung, signal.SIGSTOP)
    with Session(warm) as session:
        assert session.fork.pid != hung
        assert session.run("print(1)") == "1"
    assert wait_for(lambda: not lives(hung))


def test_what_a_kernel_started_ends_with_it(warm: Warm) -> None:
    with Session(warm) as session:
        child = int(session.run("import subprocess; print(subprocess.Popen(['sleep', '600']).pid)"))
        assert lives(child)
        os.kill(session.fork.pid, signal.SIGKILL)
        assert session.fork.wait(PATIENCE) == -signal.SIGKILL
    assert wait_for(lambda: not lives(child))


def test_a_kernel_ends_with_whoever_asked_for_it(warm: Warm) -> None:
    """The owner of a kernel is killed, not closed."""
    asking = (
        "import os, sys, time\n"
        "from runbook.kernels import fork_kernel\n"
        "fork = fork_kernel(sys.argv[1], dict(os.environ), os.getcwd())\n"
        "print(fork.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", asking, warm.address], stdout=subprocess.PIPE, text=True) as asker:
        assert asker.stdout is not None
        pid = int(asker.stdout.readline())
        assert lives(pid)
        asker.kill()
    assert wait_for(lambda: not lives(pid))


def test_nothing_outlives_a_killed_zygote(own_warm: Warm) -> None:
    with Session(own_warm) as session:
        pids = [own_warm.pid, session.fork.pid, *idle(own_warm)]
        os.kill(own_warm.pid, signal.SIGKILL)
        assert wait_for(lambda: not any(lives(pid) for pid in pids))
        assert session.fork.poll() == -signal.SIGKILL


def test_a_zygote_that_died_is_started_again(own_warm: Warm) -> None:
    before = own_warm.pid
    os.kill(before, signal.SIGKILL)
    assert wait_for(lambda: not lives(before))
    with pytest.raises(WarmUnavailable):
        fork_kernel(own_warm.address, {}, "/")
    own_warm.ensure()
    own_warm.wait_ready()
    with Session(own_warm) as session:
        assert session.run("print(2)") == "2"


def test_nothing_outlives_a_killed_owner() -> None:
    """Owner, zygote, idle kernel and used kernel: the owner is killed, and cannot clean up."""
    owning = (
        "import os, time\n"
        "from runbook.kernels import Warm, fork_kernel, status\n"
        "warm = Warm(kernels=1); warm.wait_ready(idle=1)\n"
        "fork = fork_kernel(warm.address, dict(os.environ), os.getcwd())\n"
        "print(warm.pid, fork.pid, *status(warm.address)['pids'], warm.folder, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", owning], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        *pids, folder = process.stdout.readline().split()
        process.kill()
    assert wait_for(lambda: not any(lives(int(pid)) for pid in pids))
    assert wait_for(lambda: not Path(folder).exists())


def test_close_leaves_no_process_and_no_file() -> None:
    with Warm(kernels=1) as warm:
        warm.wait_ready(idle=1)
        pids = [warm.pid, *idle(warm)]
        folder = warm.folder
    assert not any(lives(pid) for pid in pids)
    assert not folder.exists()


def test_the_socket_is_private(warm: Warm) -> None:
    assert Path(warm.address).stat().st_mode & 0o077 == 0
    assert warm.folder.stat().st_mode & 0o077 == 0


def test_a_call_gets_its_streams_arguments_and_code(warm: Warm, tmp_path: Path) -> None:
    """json.tool on an empty file, which has something to say about it, and a function that does not exist."""
    with (tmp_path / "out").open("w+") as out, Path(os.devnull).open() as nothing:
        streams = (nothing.fileno(), out.fileno(), out.fileno())
        good = fork_call(warm.address, "json.tool:main", [os.devnull], {"PATH": ""}, str(tmp_path), streams)
        assert good.wait(PATIENCE) == 1
        bad = fork_call(warm.address, "json:nowhere", [], {"PATH": ""}, str(tmp_path), streams)
        assert bad.wait(PATIENCE) == 1
        good.close()
        bad.close()
        out.seek(0)
        said = out.read()
    assert "Expecting value" in said
    assert "AttributeError" in said


def test_memory_of_a_kernel_is_shared(warm: Warm) -> None:
    """Its own (PSS) is well below what it can see (RSS), most of which is the zygote's."""
    with Session(warm) as session:
        session.run("import pandas as pd; pd.DataFrame({'a': range(1000)}).sum()")
        rss = psutil.Process(session.fork.pid).memory_info().rss / 1e6
        assert size.pss_mb(session.fork.pid) < 0.7 * rss


# Through Jupyter itself


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The kernelspec, installed where Jupyter looks."""
    spec.install(str(tmp_path))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share" / "jupyter"))
    return tmp_path


def notebook(tmp_path: Path, *cells: str) -> Path:
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    made.metadata.kernelspec = {"name": spec.NAME, "display_name": "", "language": "python"}
    path = tmp_path / "in.ipynb"
    nbformat.write(made, path)
    return path


def printed_with_papermill(path: Path, address: str) -> list[str]:
    """What the notebook prints when papermill's own command runs it."""
    out = path.with_name("out.ipynb")
    environment = {**os.environ, owner.ADDRESS: address}
    subprocess.run(
        [sys.executable, "-m", "papermill", "--no-progress-bar", str(path), str(out)],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    executed = nbformat.read(out, as_version=4)
    return "".join(output.text for cell in executed.cells for output in cell.outputs).split()


LOOK = "import os; print(os.getppid(), os.environ.get('RUNBOOK_WARM'))"


def test_papermill_takes_a_warm_kernel(warm: Warm, installed: Path) -> None:
    assert printed_with_papermill(notebook(installed, LOOK), warm.address) == [str(warm.pid), "None"]


def test_papermill_falls_back_to_an_ordinary_kernel(warm: Warm, installed: Path) -> None:
    parent, _ = printed_with_papermill(notebook(installed, LOOK), str(installed / "gone"))
    assert parent != str(warm.pid)


def test_restart_and_interrupt(warm: Warm, installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As JupyterLab does it: the client stays connected through a restart, and an interrupt stops a cell."""
    monkeypatch.setenv(owner.ADDRESS, warm.address)
    asyncio.run(_restart_and_interrupt())


async def _restart_and_interrupt() -> None:
    manager = AsyncKernelManager(kernel_name=spec.NAME)
    await manager.start_kernel()
    client = manager.client()
    client.start_channels()
    await client.wait_for_ready(PATIENCE)
    try:
        await client.execute_interactive("left = 1", timeout=PATIENCE)
        first = manager.provisioner.pid
        await manager.restart_kernel(now=True)
        await client.wait_for_ready(PATIENCE)
        reply = await client.execute_interactive("left", timeout=PATIENCE, output_hook=lambda message: None)
        assert reply["content"]["ename"] == "NameError"
        assert manager.provisioner.pid != first
        asked = client.execute("import time; print('asleep', flush=True); time.sleep(600)")
        # Not `execute_input`: an interrupt before the code runs ends the request without an answer.
        while (await client.get_iopub_msg(timeout=PATIENCE))["msg_type"] != "stream":
            pass
        await manager.interrupt_kernel()
        while (reply := await client.get_shell_msg(timeout=PATIENCE))["parent_header"]["msg_id"] != asked:
            pass
        assert reply["content"]["ename"] == "KeyboardInterrupt"
    finally:
        client.stop_channels()
        await manager.shutdown_kernel()
    assert isinstance(manager.provisioner, provisioner.WarmProvisioner)
    assert not await manager.is_alive()


def test_handle_waits_no_longer_than_asked(warm: Warm) -> None:
    fork: Fork = fork_kernel(warm.address, dict(os.environ), "/")
    with pytest.raises(subprocess.TimeoutExpired):
        fork.wait(0.05)
    fork.close()
    assert wait_for(lambda: not lives(fork.pid))
