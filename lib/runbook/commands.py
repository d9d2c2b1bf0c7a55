"""The commands that a procedure begins with, for when there is no report: checked as written, filled from an alert.

A command is one line for a shell. `<namespace>` in it is the platform's namespace, `<pod>` the alert's label `pod`.
What is put there is quoted for the shell, and stays one word whatever a label says.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping

NAMESPACE = "namespace"
WRITTEN_MAX, FILLED_MAX = 300, 400
"""Characters of a command as it is written, and as it is sent: Slack's message has room for six of these."""
_PLACEHOLDER = re.compile(r"<([a-z_]+)>")
_WORD_MAX = 253  # of the longest name that Kubernetes has


def require(command: str, labels: Iterable[str]) -> None:
    """Raise ValueError, with the reason, unless `command` can be filled with the namespace and these labels."""
    known = {NAMESPACE, *labels}
    if not command.isprintable() or not 0 < len(command) <= WRITTEN_MAX:
        raise ValueError(f"{command[:60]!r} is not one line of 1 to {WRITTEN_MAX} characters")
    if "`" in command:  # ends at the next one, whatever is quoted between the two
        raise ValueError(f"{command!r} has a backtick: write $(…)")
    if not _is_closed(command):
        raise ValueError(f"{command!r} has a quote that is not closed")
    for place in _PLACEHOLDER.finditer(command):
        if place[1] not in known:
            raise ValueError(f"{command!r} asks for {place[0]}; there are {', '.join(sorted(known))}")
        if not _is_closed(command[: place.start()]):
            raise ValueError(f"{command!r} has {place[0]} inside quotes, which it could close")


def asks_for_labels(command: str) -> bool:
    """Whether the command needs a label that an alert may lack."""
    return bool(set(_PLACEHOLDER.findall(command)) - {NAMESPACE})


def filled(commands: Iterable[str], words: Mapping[str, str]) -> tuple[str, ...]:
    """The commands ready to be typed, `words` in their places.

    A command is left out where a word for it is missing or cannot stand in one: it is empty or too long, does not
    print, or begins with a dash and would be taken for an option.
    """
    usable = {name: shlex.quote(word) for name, word in words.items() if _can_stand(word)}
    ready = [
        _PLACEHOLDER.sub(lambda place: usable[place[1]], command)
        for command in commands
        if set(_PLACEHOLDER.findall(command)) <= set(usable)
    ]
    return tuple(command for command in ready if len(command) <= FILLED_MAX)


def _can_stand(word: str) -> bool:
    return 0 < len(word) <= _WORD_MAX and word.isprintable() and not word.startswith("-")


def _is_closed(text: str) -> bool:
    """Whether every quote in `text` is closed and nothing waits to be escaped."""
    try:
        shlex.split(text)
    except ValueError:
        return False
    return True
