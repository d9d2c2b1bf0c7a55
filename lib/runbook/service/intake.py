"""A webhook's body -> what it came to, committed: alerts, incident, runs, and the jobs that will do them."""

from __future__ import annotations

import json
from typing import Any

from runbook.alert import AlertGroup, group_from_json
from runbook.errors import PayloadError
from runbook.history import Connection
from runbook.history.intake import Receipt, receive
from runbook.history.waiting import Queued
from runbook.service import announce
from runbook.service.context import Context

BODY_MAX = 4 * 1024 * 1024


def parse(body: bytes) -> AlertGroup:
    """The message in `body`. Raises PayloadError saying what is wrong with it."""
    try:
        text = body.decode("utf-8-sig")
        data: Any = json.loads(text, object_pairs_hook=_object, parse_constant=_no_number)
    except UnicodeDecodeError as error:
        raise PayloadError(f"The payload is not UTF-8: see byte {error.start}.") from None
    except RecursionError:
        raise PayloadError("The payload is nested too deeply.") from None
    except json.JSONDecodeError as error:
        raise PayloadError(f"The payload is not JSON: see line {error.lineno}, column {error.colno}.") from None
    except ValueError:  # Python's limit on the digits of a number
        raise PayloadError("A number in the payload has too many digits.") from None
    return group_from_json(data)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. One that names a field twice is refused: whichever were taken, the other would be lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise PayloadError("An object in the payload names a field twice.")
    return found


def _no_number(name: str) -> Any:
    raise PayloadError(f"The payload holds {name}, which is not JSON.")


def accept(context: Context, group: AlertGroup) -> Receipt:
    """Take the message in; on return it is committed. Raises StorageError when it is not."""

    def work(connection: Connection) -> Receipt:
        with connection.pipeline():  # statements whose answer nobody needs are sent along with the next
            return _accept(connection, context, group)

    return context.database.commit(work)


def _accept(connection: Connection, context: Context, group: AlertGroup) -> Receipt:
    receipt = receive(connection, group, context.classify, context.limits)
    for queued in receipt.queued:
        put(connection, context, queued)
    for incident in receipt.critical:
        watch_over(connection, context, incident)
    for incident in receipt.more_critical:
        context.queue.watch(connection, incident, context.settings.runbook_dead_man_seconds, [])
    for incident in receipt.closed:
        announce.resolved(connection, context, incident)
    return receipt


def put(connection: Connection, context: Context, queued: Queued) -> None:
    """Queue the job of a waiting run."""
    context.queue.run(connection, queued.run, queued.incident, queued.procedure, queued.severity, queued.delay_seconds)


def watch_over(connection: Connection, context: Context, incident: int) -> None:
    """Queue what has to happen to a critical incident if nobody ends it: the dead man, then each escalation."""
    levels = [(level.level, level.after_minutes) for level in context.catalog.escalation if level.after_minutes > 0]
    context.queue.watch(connection, incident, context.settings.runbook_dead_man_seconds, levels)
