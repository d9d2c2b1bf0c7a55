"""The kernelspec `runbook-warm`, for papermill, nbmake and JupyterLab: `python -m runbook.kernels.spec` installs it."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from jupyter_client.kernelspec import KernelSpecManager

NAME = "runbook-warm"


def kernel_json() -> dict[str, object]:
    """What kernel.json says: an ordinary kernel of this Python, and the provisioner that warms it."""
    return {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "Runbook (warm)",
        "language": "python",
        "metadata": {"debugger": True, "kernel_provisioner": {"provisioner_name": NAME}},
    }


def install(prefix: str = sys.prefix) -> Path:
    """Install the kernelspec under `prefix` -> its folder."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "kernel.json").write_text(json.dumps(kernel_json(), indent=1), encoding="utf-8")
        return Path(KernelSpecManager().install_kernel_spec(folder, NAME, prefix=prefix))


if __name__ == "__main__":
    install()
