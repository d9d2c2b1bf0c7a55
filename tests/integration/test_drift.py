"""The demo is as strict as the platform: schema and metrics, compared with the facts in tests/reference. Read only."""

from __future__ import annotations

import csv
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import psycopg
import pytest

from cryptofunk_demo import prometheus
from cryptofunk_demo.moment import AS_OF
from cryptofunk_demo.platform import Platform

REFERENCE = Path(__file__).resolve().parents[1] / "reference"
KUBERNETES = re.compile(r"(container|kube|kubelet)_\w+|up|ALERTS")
"""Metrics of Kubernetes and of Prometheus itself: the platform does not define them."""
NOT_SIMULATED = re.compile(
    r"|(orchestrator|risk_agent)_\w+|cryptofunk_(audit_log|vault|vector_search|strategy)_\w+|health_check_total"
    r"|cryptofunk_(agent_signals_by_status_total|monthly_return|weekly_return|redis_operations_total|risk_reward_ratio)"
)
"""Metrics that no procedure reads, so the demo may leave them out; the reference has nameless ones by mistake."""


@pytest.fixture(scope="module")
def platform(run_folder: Path) -> Iterator[Platform]:
    with Platform.start("healthy", folder=run_folder / "demo", cluster=False, alertmanager=False) as started:
        yield started


@pytest.fixture(scope="module")
def rows(platform: Platform) -> Callable[[str], list[tuple[Any, ...]]]:
    def ask(query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(platform.environment["DATABASE_URL"]) as connection:
            return connection.execute(query).fetchall()

    return ask


def reference(name: str) -> list[dict[str, str]]:
    with (REFERENCE / f"platform_{name}.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def differences(ours: Iterable[str], platforms: Iterable[str]) -> list[str]:
    ours, platforms = sorted(ours), sorted(platforms)
    left, right = list(platforms), []
    for fact in ours:
        if fact in left:
            left.remove(fact)
        else:
            right.append(fact)
    return [f"the platform has, the demo has not: {fact}" for fact in left] + [
        f"the demo has, the platform has not: {fact}" for fact in right
    ]


def test_columns(rows: Callable[[str], list[tuple[Any, ...]]]) -> None:
    found = rows("""
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.atthasdef
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped""")
    words = {True: "yes", False: "no"}
    ours = [
        f"{table}.{column} {_type(kind)}, nullable: {words[not required]}, default: {words[default]}"
        for table, column, kind, required, default in found
    ]
    platforms = [
        f"{row['table']}.{row['column']} {row['type']}, nullable: {row['nullable']}, default: {row['has_default']}"
        for row in reference("columns")
    ]
    found = differences(ours, platforms)
    assert not found, "\n".join(found)


def test_constraints_and_indexes(rows: Callable[[str], list[tuple[Any, ...]]]) -> None:
    constraints = rows("""
        SELECT conrelid::regclass::text, contype::text, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND contype IN ('p', 'f', 'u', 'c')""")
    indexes = rows("""
        SELECT indrelid::regclass::text, indisunique, pg_get_indexdef(indexrelid) FROM pg_index
        WHERE NOT indisprimary
          AND indrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)""")
    ours = [f"{table}: {_constraint(kind, text)}" for table, kind, text in constraints]
    ours += [f"{table}: {'index unique' if unique else 'index'} {_index(text)}" for table, unique, text in indexes]
    platforms = [f"{row['table']}: {row['kind']} {row['columns']}" for row in reference("constraints")]
    found = differences(ours, platforms)
    assert not found, "\n".join(found)


def _type(kind: str) -> str:
    """As information_schema has it: arrays by their inner name, vectors without their length."""
    if kind.endswith("[]"):
        return f"_{kind[:-2]}"
    return re.sub(r"^vector\(\d+\)$", "vector", kind)


def _constraint(kind: str, text: str) -> str:
    match kind:
        case "c":
            return f"check {text.removeprefix('CHECK ')}"
        case "f":
            columns, table, deletes = re.fullmatch(
                r"FOREIGN KEY \((.+)\) REFERENCES (\w+)\([^)]+\)(?: ON DELETE (.+))?", text
            ).groups("no action")  # type: ignore[union-attr]
            return f"foreign key {columns} -> {table} (on delete {deletes.lower()})"
        case _:
            name = "primary key" if kind == "p" else "unique"
            return f"{name} {text[text.index('(') + 1 : -1]}"


def _index(text: str) -> str:
    how, columns, condition = re.fullmatch(r".* USING (\w+) \((.*?)\)(?: WHERE (.*))?", text).groups()  # type: ignore[union-attr]
    where = f" where {condition}" if condition else ""
    return f"{how}: {columns}{where}"


@pytest.mark.skipif(not prometheus.is_installed(), reason="needs a real Prometheus")
def test_metrics(platform: Platform) -> None:
    known = {row["metric"]: row for row in reference("metrics")}
    exported = _exported(platform)
    missing = {name for name in known if name not in exported and not NOT_SIMULATED.fullmatch(name)}
    found = [f"the platform has, the demo has not: {name}" for name in sorted(missing)]
    for name in sorted(exported):
        if KUBERNETES.fullmatch(name):
            continue
        if name not in known:
            found.append(f"the demo has, the platform has not: {name}")
            continue
        row, (kind, labels, buckets) = known[name], exported[name]
        theirs = (row["kind"], {*_listed(row["labels"])}, [*map(float, _listed(row["buckets"]))])
        # A gauge and a counter look the same in blocks.
        ours = (kind or row["kind"], labels, buckets)
        if ours != theirs:
            found.append(f"{name}: the demo has {ours}, the platform {theirs}")
    assert not found, "\n".join(found)


@pytest.mark.skipif(not prometheus.is_installed(), reason="needs a real Prometheus")
def test_counters_start_again_with_their_process_alone(platform: Platform) -> None:
    falling = []
    for row in reference("metrics"):
        if row["kind"] == "counter" and row["metric"]:
            question = urlencode({"query": f"max(resets({row['metric']}[48h])) > 1", "time": AS_OF.timestamp()})
            if _ask(platform, f"query?{question}")["result"]:
                falling.append(row["metric"])
    assert falling == []


def _listed(text: str) -> list[str]:
    return text.split(",") if text else []


def _exported(platform: Platform) -> dict[str, tuple[str, set[str], list[float]]]:
    """By metric: "histogram" or "", its labels, a histogram's buckets without the infinite one."""
    names: dict[str, set[str]] = defaultdict(set)
    buckets: dict[str, set[float]] = defaultdict(set)
    for labels in _series(platform):
        name = labels.pop("__name__")
        if "le" in labels:
            name = name.removesuffix("_bucket")
            buckets[name].add(float(labels.pop("le")))
        names[name] |= {*labels}
    parts = {f"{name}_{part}" for name in buckets for part in ("sum", "count")}
    return {
        name: ("histogram" if name in buckets else "", labels, sorted(buckets[name] - {float("inf")}))
        for name, labels in names.items()
        if name not in parts
    }


def _series(platform: Platform) -> list[dict[str, str]]:
    question = urlencode({"match[]": '{__name__!=""}', "start": 0, "end": 4_000_000_000})
    found: list[dict[str, str]] = _ask(platform, f"series?{question}")
    return found


def _ask(platform: Platform, question: str) -> Any:
    with urlopen(f"{platform.environment['PROMETHEUS_URL']}/api/v1/{question}", timeout=30) as answer:
        return json.load(answer)["data"]
