"""Row classes, the tables they are read from, and the templates that read them say the same."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator
from datetime import datetime
from importlib import resources
from typing import Any

import pytest
from jinja2 import nodes
from service_kit import query

from runbook.catalog import Level
from runbook.history.changes import Change
from runbook.history.listing import Filter, IncidentDetails
from runbook.history.rows import (
    CoveredIncident,
    Delivery,
    Event,
    Incident,
    ListedIncident,
    ReportedRun,
    Run,
    Step,
    StoredAlert,
    WatchedRun,
)
from runbook.outcome import Action, FindingRecord, Outcome
from runbook.service import pages
from runbook.service.context import Context
from runbook.service.timeline import Axis, Bar, Tick

TABLES = {"incidents": Incident, "alerts": StoredAlert, "runs": WatchedRun, "deliveries": Delivery}
TYPES = {"bigint": int, "integer": int, "text": str, "timestamp with time zone": datetime, "double precision": float}
# What the templates' names stand for. A finding is one of a report, or one that a running report has come to.
SHOWN: dict[str, tuple[type, ...]] = {
    "action": (Action,),
    "alert": (StoredAlert,),
    "axis": (Axis,),
    "bar": (Bar,),
    "change": (Change,),
    "child": (CoveredIncident,),
    "details": (IncidentDetails,),
    "event": (Event,),
    "filter": (Filter,),
    "finding": (FindingRecord, Step),
    "incident": (ListedIncident,),
    "latest": (ReportedRun,),
    "level": (Level,),
    "message": (Delivery,),
    "moment": (Bar,),
    "outcome": (Outcome,),
    "parent": (Incident,),
    "run": (Run,),
    "steps": (pages.Steps,),
    "tick": (Tick,),
}
TEMPLATES = sorted(
    file.name for file in (resources.files("runbook.service") / "templates").iterdir() if file.name.endswith(".html")
)


@pytest.mark.parametrize("table", TABLES)
def test_a_row_has_the_types_of_its_columns_and_is_null_where_they_may_be(made: Context, table: str) -> None:
    columns = query(
        made,
        "SELECT column_name, data_type, is_nullable FROM information_schema.columns"
        " WHERE table_schema = 'runbook' AND table_name = %s",
        table,
    )
    stored = {column["column_name"]: column for column in columns}
    kind = TABLES[table]
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        column = stored[field.name]
        options = typing.get_args(hints[field.name]) if isinstance(hints[field.name], types.UnionType) else ()
        assert (type(None) in options) == (column["is_nullable"] == "YES"), field.name
        if column["data_type"] != "jsonb":
            assert TYPES[column["data_type"]] in (options or (hints[field.name],)), field.name


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_reads_what_there_is(name: str) -> None:
    """Also where no test leads: a branch that is never drawn."""
    environment = pages.templates()
    assert environment.loader
    tree = environment.parse(environment.loader.get_source(environment, name)[0])
    shown = SHOWN | ({"run": (WatchedRun,)} if name == "run.html" else {})
    missing = [
        f"{owner}.{attribute}"
        for owner, attribute in _reads(tree)
        for kind in shown.get(owner, ())
        if attribute not in _names(kind)
    ]
    assert missing == []


def test_a_list_shows_what_its_items_have() -> None:
    environment = pages.templates()
    assert environment.loader
    tree = environment.parse(environment.loader.get_source(environment, "index.html")[0])
    read = {attribute for owner, attribute in _reads(tree) if owner == "item"}
    assert read <= _names(ListedIncident) | _names(Run)


def _reads(tree: nodes.Template) -> Iterator[tuple[str, str]]:
    """What a template reads: a name, and the attribute of it."""
    for node in tree.find_all(nodes.Getattr):
        yield _name(node.node), node.attr


def _name(node: nodes.Node) -> str:
    """The last name of `run` or `run.outcome`."""
    match node:
        case nodes.Name(name=name):
            return name
        case nodes.Getattr(attr=attribute):
            return attribute
    return ""


def _names(kind: Any) -> set[str]:
    return {*dir(kind), *getattr(kind, "model_fields", {})}
