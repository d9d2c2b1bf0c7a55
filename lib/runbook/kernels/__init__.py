"""Warm kernels: Jupyter kernels forked from a process that has imported everything, each used once.

    owner (worker, CLI, JupyterLab)
      └── zygote        imports once, one thread, serves a Unix socket; ends with its owner
            ├── idle kernels, listening already; replaced when used, dead or hung
            ├── a used kernel: ends with whoever asked for it
            └── a call (the runner's executor): the same, for a function instead of a kernel

`Warm` starts and owns the zygote. `runbook.kernels.provisioner` is Jupyter's way in (kernelspec
`runbook-warm`). Where there is no fork, or the zygote is gone, the ordinary kernel is started.
"""

from __future__ import annotations

from runbook.kernels.owner import Fork, Warm, WarmUnavailable, available, fork_call, fork_kernel, status

__all__ = ["Fork", "Warm", "WarmUnavailable", "available", "fork_call", "fork_kernel", "status"]
