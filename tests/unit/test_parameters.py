"""Parameters: read as literals, checked before anything runs, the last layer wins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runbook.errors import InputError, ParameterError
from runbook.parameters import Parameter, checked, coerce, declared, from_text, from_yaml, resolve

CELL = '''"""What a person may change."""
alertname = "X"  # the alert
# hours before the alert
lookback_hours = 6.0
as_of = ""
starts_at = ""
retries: int = 3  # how # often
dry = True
agents = ["a"]
labels = {}
'''


def notebook(folder: Path, source: str | list[str], tags: tuple[str, ...] = ("parameters",)) -> Path:
    cell = {"cell_type": "code", "metadata": {"tags": list(tags)}, "source": source}
    path = folder / "X.ipynb"
    path.write_text(json.dumps({"cells": [cell]}), encoding="utf-8")
    return path


@pytest.fixture
def parameters(tmp_path: Path) -> dict[str, Parameter]:
    return {parameter.name: parameter for parameter in declared(notebook(tmp_path, CELL))}


def test_declared_reads_names_types_defaults_and_comments(parameters: dict[str, Parameter]) -> None:
    assert [(p.name, p.type) for p in parameters.values()] == [
        ("alertname", "text"),
        ("lookback_hours", "number"),
        ("as_of", "text"),
        ("starts_at", "text"),
        ("retries", "whole number"),
        ("dry", "yes/no"),
        ("agents", "list"),
        ("labels", "mapping"),
    ]
    assert parameters["alertname"].help == "the alert"
    assert parameters["lookback_hours"].help == "hours before the alert"
    assert parameters["retries"].help == "how # often"


def test_a_notebook_without_the_tag_takes_none(tmp_path: Path) -> None:
    assert declared(notebook(tmp_path, "x = 1", tags=())) == ()


def test_source_may_be_a_list_of_lines(tmp_path: Path) -> None:
    assert [p.name for p in declared(notebook(tmp_path, ["a = 1\n", "b = 2\n"]))] == ["a", "b"]


@pytest.mark.parametrize(
    "source", ["x = open('f')", "import os", "x, y = 1, 2", "x = y = 1", "x.y = 1", "x = None", "("]
)
def test_the_parameters_cell_holds_only_literals(tmp_path: Path, source: str) -> None:
    with pytest.raises(InputError, match=r"parameters cell of X\.ipynb"):
        declared(notebook(tmp_path, source))


@pytest.mark.parametrize("text", ["", "[]", "{", '{"cells": [1]}'])
def test_what_is_no_notebook_is_said_so(tmp_path: Path, text: str) -> None:
    path = tmp_path / "X.ipynb"
    path.write_text(text)
    with pytest.raises(InputError, match=r"X\.ipynb is not a notebook"):
        declared(path)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("alertname", "a=b 'c'", "a=b 'c'"),
        ("lookback_hours", "12", 12.0),
        ("retries", "-2", -2),
        ("dry", "No", False),
        ("agents", "[a, 'b c']", ["a", "b c"]),
        ("labels", '{"a": "b"}', {"a": "b"}),
        ("agents", "", []),
        ("as_of", "2026-01-15T14:10:00Z", "2026-01-15T14:10:00Z"),
    ],
)
def test_text_becomes_the_type_of_the_parameter(
    parameters: dict[str, Parameter], name: str, text: str, value: Any
) -> None:
    found = coerce(parameters[name], text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("lookback_hours", "soon"),
        ("lookback_hours", "nan"),
        ("lookback_hours", "inf"),
        ("lookback_hours", "-1"),
        ("lookback_hours", "0"),
        ("retries", "1.5"),
        ("dry", "maybe"),
        ("agents", "{a: b}"),
        ("agents", "[2026-01-15]"),
        ("agents", "[.nan]"),
        ("labels", "{1: b}"),
        ("labels", "{"),
        ("agents", "!!python/object/apply:os.system [id]"),
        ("as_of", "2026-01-15T14:10:00"),
        ("starts_at", "yesterday"),
    ],
)
def test_text_that_does_not_fit_is_refused_by_name(parameters: dict[str, Parameter], name: str, text: str) -> None:
    with pytest.raises(ParameterError, match=name):
        coerce(parameters[name], text)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("retries", True),
        ("dry", 1),
        ("alertname", 1),
        ("lookback_hours", "6"),
        ("agents", ("a",)),
        ("alertname", "a\x00b"),
        ("alertname", "\ud800"),
        ("alertname", "x" * 20_001),
        ("labels", {"a": {"b": float("nan")}}),
    ],
)
def test_values_of_another_type_are_refused(parameters: dict[str, Parameter], name: str, value: Any) -> None:
    with pytest.raises(ParameterError, match=name):
        resolve(parameters.values(), {name: value})


@pytest.mark.parametrize(
    ("name", "default", "value"),
    [
        ("lookback_hours", 6.0, 2160.5),
        ("lookback_hours", 6.0, 0.0),
        ("threshold", 0.0, -0.1),
        ("threshold_ms", 5000.0, -1.0),
        ("alerts", [], [1]),
        ("alerts", [], [{"labels": {}}]),
    ],
)
def test_values_that_mean_nothing_are_refused(name: str, default: Any, value: Any) -> None:
    with pytest.raises(ParameterError, match=name):
        checked(Parameter(name, "list" if isinstance(default, list) else "number", default), value)


def test_alerts_in_alertmanagers_shape_are_taken() -> None:
    alerts = [{"labels": {"alertname": "A"}, "startsAt": "2026-01-15T14:02:00Z"}]
    assert checked(Parameter("alerts", "list", []), alerts) == alerts


def test_the_last_layer_wins_and_whole_numbers_widen(parameters: dict[str, Parameter]) -> None:
    found = resolve(parameters.values(), {"lookback_hours": 3, "dry": False}, {}, {"lookback_hours": 4})
    assert found == {"lookback_hours": 4.0, "dry": False}
    assert type(found["lookback_hours"]) is float


def test_an_unknown_name_gets_the_nearest_one(parameters: dict[str, Parameter]) -> None:
    with pytest.raises(ParameterError, match=r"no parameter lookback_hour\. Did you mean lookback_hours\?"):
        resolve(parameters.values(), {"lookback_hour": 1.0})


@pytest.mark.parametrize("name", ["a b", "x=1;import os", "class", "", "a\nb", 1])
def test_names_that_are_not_identifiers_are_refused(parameters: dict[str, Parameter], name: Any) -> None:
    with pytest.raises(ParameterError, match="cannot be a parameter's name"):
        resolve(parameters.values(), {name: 1})


def test_as_of_before_the_alert_is_refused(parameters: dict[str, Parameter]) -> None:
    times = {"starts_at": "2026-01-15T14:02:00Z", "as_of": "2026-01-15T15:01:00+02:00"}
    with pytest.raises(ParameterError, match="before the alert"):
        resolve(parameters.values(), times)


def test_assignments() -> None:
    assert from_text(["a=1", "b=x=y", "c="]) == {"a": "1", "b": "x=y", "c": ""}


@pytest.mark.parametrize("text", ["a", "=1", "a b=1", "a-b=1", "import=1"])
def test_what_is_no_assignment_is_refused(text: str) -> None:
    with pytest.raises(ParameterError):
        from_text([text])


def test_a_name_given_twice_is_refused() -> None:
    with pytest.raises(ParameterError, match="a is given twice"):
        from_text(["a=1", "a=2"])


def test_a_parameters_file(tmp_path: Path) -> None:
    path = tmp_path / "X.yaml"
    assert from_yaml(path) == {}
    path.write_text("a: 1\nb: [x]\n")
    assert from_yaml(path) == {"a": 1, "b": ["x"]}


@pytest.mark.parametrize("text", ["[a]", "a: [", "1: a", "!!python/name:os.system"])
def test_a_parameters_file_that_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "X.yaml"
    path.write_text(text)
    with pytest.raises(ParameterError, match=r"X\.yaml"):
        from_yaml(path)


RATIO, MILLISECONDS = Parameter("threshold", "number", 0.0), Parameter("threshold_ms", "number", 5000.0)


@pytest.mark.parametrize(
    ("parameter", "text"),
    [
        (RATIO, "10"),
        (RATIO, "1.01"),
        (RATIO, "-0.1"),
        (Parameter("threshold", "number", 0.05), "0"),
        (Parameter("failure_ratio", "number", 0.6), "60"),
        (Parameter("most_share", "number", 0.5), "2"),
        (MILLISECONDS, "0"),
        (MILLISECONDS, "-1"),
    ],
)
def test_a_number_outside_of_what_its_name_says_is_refused(parameter: Parameter, text: str) -> None:
    with pytest.raises(ParameterError, match=f"{parameter.name} (is a ratio|must be more than 0)"):
        coerce(parameter, text)


@pytest.mark.parametrize(
    ("parameter", "text"), [(RATIO, "0"), (RATIO, "1"), (RATIO, "0.1"), (MILLISECONDS, "250"), (MILLISECONDS, "9e4")]
)
def test_what_the_name_says_and_the_default_that_stands_for_another_are_taken(parameter: Parameter, text: str) -> None:
    assert coerce(parameter, text) == float(text)


def test_a_percentage_is_told_its_ratio() -> None:
    with pytest.raises(ParameterError, match=r"For 10 % write 0\.1"):
        coerce(RATIO, "10")
