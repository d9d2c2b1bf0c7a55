"""The floor: the cells' source in a bare warm Python, without kernel, papermill, notebook or page."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    """Execute the sources listed in the JSON file named in argv, in one namespace."""
    namespace = {"__name__": "__main__"}
    for number, source in enumerate(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))):
        exec(compile(source, f"cell {number}", "exec"), namespace)
