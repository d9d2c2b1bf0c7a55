"""What the documents list is what there is."""

from __future__ import annotations

import re
from pathlib import Path

from cryptofunk_demo import incidents

ROOT = Path(__file__).parents[2]


def test_the_demos_page_lists_every_incident() -> None:
    text = (ROOT / "docs" / "demo.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `([\w-]+)` \|", text, re.MULTILINE))
    assert listed == set(incidents.INCIDENTS), "docs/demo.md has a row for each incident, and no other"


def test_links_within_the_documents_lead_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"
