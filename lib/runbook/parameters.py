"""A notebook's parameters: read from its tagged cell, checked before anything runs.

papermill injects names unescaped and only warns about unknown ones, so it is trusted with neither:
only what `resolve` returns reaches it. Precedence: notebook < YAML < the alert's labels < `-p`.
"""

from __future__ import annotations

import ast
import difflib
import io
import json
import keyword
import math
import tokenize
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from runbook.alert import alert_from_json, parse_time
from runbook.errors import InputError, ParameterError

TEXT_MAX = 20_000
_TYPES: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "yes/no": (bool,),
    "whole number": (int,),
    "number": (float, int),
    "list": (list,),
    "mapping": (dict,),
}
_TIMES = ("starts_at", "as_of")
LOOKBACK_MAX = 2160
_SPANS = ("_hours", "_minutes", "_seconds", "_days")
_RATIOS = ("threshold", "ratio", "share")
_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


@dataclass(frozen=True, slots=True)
class Folders:
    """Where the procedures are: one folder of notebooks, one of parameter files with the catalog."""

    notebooks: Path
    parameters: Path

    def notebook(self, procedure: str) -> Path:
        return self.notebooks / f"{procedure}.ipynb"

    def values(self, procedure: str) -> Path:
        return self.parameters / f"{procedure}.yaml"

    @property
    def catalog(self) -> Path:
        return self.parameters / "catalog.yaml"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a notebook: its name, type (text, number, …), default and the comment beside it."""

    name: str
    type: str
    default: Any
    help: str = ""


def folders() -> Folders:
    """The folders notebooks/ and parameters/: of the working directory, else of the package's repository.

    Raises InputError when neither has a notebooks folder.
    """
    for root in (Path.cwd(), Path(__file__).resolve().parents[2]):
        if (root / "notebooks").is_dir() and (root / "parameters" / "catalog.yaml").is_file():
            return Folders(root / "notebooks", root / "parameters")
    raise InputError("There is no notebooks/ folder here. Change to the project's folder and run again.")


def declared(notebook: Path) -> tuple[Parameter, ...]:
    """The parameters of `notebook`, in its order: the literals of the cell tagged "parameters".

    Raises InputError when the notebook cannot be read or that cell holds more than literals.
    """
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        sources = ["".join(c["source"]) for c in cells if "parameters" in c.get("metadata", {}).get("tags", [])]
    except OSError as error:
        raise InputError(f"The notebook {notebook.name} cannot be read: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{notebook.name} is not a notebook. Restore it from the repository.") from None
    return _literals(sources[0], notebook.name) if sources else ()


def _literals(source: str, where: str) -> tuple[Parameter, ...]:
    try:
        statements = ast.parse(source).body
        comments = _comments(source)
    except (SyntaxError, tokenize.TokenError, ValueError):
        raise InputError(f"The parameters cell of {where} is not valid Python.") from None
    found: list[Parameter] = []
    for statement in statements:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue  # a docstring
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        value = statement.value if isinstance(statement, ast.Assign | ast.AnnAssign) else None
        if len(targets) != 1 or not isinstance(targets[0], ast.Name) or value is None:
            raise InputError(f"Line {statement.lineno} of the parameters cell of {where} is not `name = literal`.")
        name = targets[0].id
        try:
            default = ast.literal_eval(value)
        except ValueError:
            raise InputError(f"{name} in the parameters cell of {where} is not a literal.") from None
        help_text = comments.get(statement.end_lineno or 0) or comments.get(-statement.lineno + 1, "")
        found.append(Parameter(name, _type_of(default, name, where), default, help_text))
    return tuple(found)


def _comments(source: str) -> dict[int, str]:
    """Comments by line; those that have a line to themselves under the negative of its number."""
    found: dict[int, str] = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            alone = not token.line[: token.start[1]].strip()
            found[-token.start[0] if alone else token.start[0]] = token.string.lstrip("# ").rstrip()
    return found


def _type_of(default: Any, name: str, where: str) -> str:
    for label, types in _TYPES.items():
        if type(default) in types:
            return label
    raise InputError(f"{name} in the parameters cell of {where} is neither text, number, yes/no, list nor mapping.")


def from_yaml(path: Path) -> dict[str, Any]:
    """The values in a parameters file, {} when there is no such file. Raises ParameterError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ParameterError(f"The parameters file {path.name} cannot be read: {error.strerror}.") from None
    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError):
        raise ParameterError(f"The parameters file {path.name} is not valid YAML.") from None
    if data is None:
        return {}
    if not isinstance(data, dict) or not all(isinstance(name, str) for name in data):
        raise ParameterError(f"The parameters file {path.name} is not a list of `name: value`.")
    return data


def from_text(assignments: Iterable[str]) -> dict[str, str]:
    """["name=value", …] -> {name: value as text}. Raises ParameterError at the first that is not one."""
    found: dict[str, str] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise ParameterError(f"{_quoted(assignment)} is not name=value.")
        if not name.isidentifier() or keyword.iskeyword(name):
            raise ParameterError(f"{_quoted(name)} cannot be a parameter's name.")
        if name in found:
            raise ParameterError(f"{name} is given twice.")
        found[name] = value
    return found


def coerce(parameter: Parameter, text: str) -> Any:
    """`text` as a value of the parameter's type. Raises ParameterError naming parameter and type."""
    try:
        match parameter.type:
            case "text":
                value: Any = text
            case "yes/no":
                value = _BOOLEANS[text.strip().lower()]
            case "whole number":
                value = int(text)
            case "number":
                value = float(text)
            case _:
                value = yaml.safe_load(text) if text.strip() else type(parameter.default)()
    except (KeyError, ValueError, yaml.YAMLError, RecursionError):
        raise ParameterError(f"{parameter.name} takes a {parameter.type}, not {_quoted(text)}.") from None
    return checked(parameter, value)


def checked(parameter: Parameter, value: Any) -> Any:
    """`value` if it fits the parameter, whole numbers widened where a number is asked for.

    Raises ParameterError: wrong type, not finite, not a time with its zone, a number out of its range.
    """
    if type(value) not in _TYPES[parameter.type]:
        raise ParameterError(f"{parameter.name} takes a {parameter.type}, not {_quoted(value)}.")
    _require_plain(parameter.name, value)
    if parameter.type == "number":
        value = float(value)
    if parameter.name in _TIMES and value:
        try:
            parse_time(value)
        except InputError:
            raise ParameterError(
                f"{parameter.name} is not a time with a zone, as in 2026-01-15T14:02:00Z: {_quoted(value)}."
            ) from None
    if parameter.type in ("number", "whole number") and value != parameter.default:
        require_range(parameter.name, value)
    if parameter.name == "alerts":
        _require_alerts(value)
    return value


def require_range(name: str, value: float) -> None:
    """Whether a number can be what its name says: a span or a threshold with a unit above 0, a ratio up to 1.

    A parameter's own default may lie outside, for it may stand for "as the platform exports it".
    Raises ParameterError.
    """
    if _is_ratio(name) and not 0 < value <= 1:
        meant = f" For {value:g} % write {value / 100:g}." if 1 < value <= 100 else ""
        raise ParameterError(f"{name} is a ratio, more than 0 and at most 1, not {value:g}.{meant}")
    if (name.endswith(_SPANS) or name.startswith("threshold_")) and not value > 0:
        raise ParameterError(f"{name} must be more than 0, not {value:g}.")
    if name == "lookback_hours" and value > LOOKBACK_MAX:
        raise ParameterError(f"lookback_hours is at most {LOOKBACK_MAX} (90 days), not {value:g}.")


def _is_ratio(name: str) -> bool:
    """Whether the name says a ratio: its last word does. A unit at its end (threshold_ms) says otherwise."""
    return name.rsplit("_", 1)[-1] in _RATIOS


def _require_alerts(value: Any) -> None:
    for alert in value:
        try:
            alert_from_json(alert)
        except InputError as error:
            raise ParameterError(f"alerts is not a list of alerts in Alertmanager's shape: {error}") from None


def resolve(parameters: Iterable[Parameter], *layers: Mapping[Any, Any]) -> dict[str, Any]:
    """Every value that differs in source from the notebook's own: later layers win, all are checked.

    Raises ParameterError for a name the notebook does not have (with the nearest one) or a wrong value.
    """
    known = {parameter.name: parameter for parameter in parameters}
    values: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
                raise ParameterError(f"{_quoted(name)} cannot be a parameter's name.")
            if name not in known:
                raise ParameterError(f"There is no parameter {name}.{_nearest(name, known)}")
            values[name] = checked(known[name], value)
    _require_order(values)
    return values


def _require_order(values: Mapping[str, Any]) -> None:
    starts_at, as_of = (values.get(name) for name in _TIMES)
    if starts_at and as_of and parse_time(as_of) < parse_time(starts_at):
        raise ParameterError(f"as_of ({as_of}) is before the alert's starts_at ({starts_at}).")


def _nearest(name: str, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f" Did you mean {near[0]}?"
    return f" It takes {', '.join(names)}." if names else " The notebook takes none."


def _require_plain(name: str, value: Any, depth: int = 0) -> None:
    if depth > 20:
        raise ParameterError(f"{name} is nested too deeply.")
    if isinstance(value, float) and not math.isfinite(value):
        raise ParameterError(f"{name} is not a finite number.")
    if isinstance(value, str):
        if len(value) > TEXT_MAX:
            raise ParameterError(f"{name} holds a text of over {TEXT_MAX:,} characters.")
        if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
            raise ParameterError(f"{name} holds characters that are not text.")
    elif isinstance(value, list):
        for item in value:
            _require_plain(name, item, depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ParameterError(f"{name} has a key that is not text: {_quoted(key)}.")
            _require_plain(name, key, depth + 1)
            _require_plain(name, item, depth + 1)
    elif value is not None and not isinstance(value, bool | int | float):
        raise ParameterError(f"{name} holds something other than text, numbers, lists and mappings.")


def _quoted(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
