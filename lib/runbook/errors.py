"""What can go wrong, in one tree.

    RunbookError
    ├── InputError              bad input: a parameter, a payload, a file
    │   ├── ParameterError
    │   └── PayloadError
    ├── ConfigurationError      a setting that is missing or cannot be used
    ├── SourceError             a source gave no answer to one question
    │   ├── NotConfigured       no address was set for it
    │   ├── SourceUnavailable   it cannot be reached, or does not answer in time
    │   ├── QueryFailed         it answered, and refused this question
    │   └── NotRecorded         a replay has no answer to this question
    ├── EmbeddedError           the embedded PostgreSQL cannot run here
    ├── StorageError            artifacts or history cannot be read or written
    ├── TryLaterError           who was asked says when to ask again
    └── DemoError               the simulated platform cannot be built or started

The text of an exception is read by a person at 3 a.m.: what failed, on what, what to do next.
Texts never hold addresses with passwords, tokens or local variables.
"""


class RunbookError(Exception):
    """The runbook cannot go on."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip())


class InputError(RunbookError):
    """The input cannot be used. Nothing was run."""


class ParameterError(InputError):
    """A parameter is unknown or has the wrong type. `runbook list PROCEDURE` shows what it takes."""


class PayloadError(InputError):
    """The payload is not an Alertmanager webhook message of version 4."""


class ConfigurationError(RunbookError):
    """A setting is missing or cannot be used. `runbook check` names it."""


class SourceError(RunbookError):
    """A source gave no answer. The reason is in the report, beside what could not be checked."""


class NotConfigured(SourceError):
    """The source has no address. Set its environment variable and run again."""


class SourceUnavailable(SourceError):
    """The source cannot be reached or does not answer in time. Check that it runs, then run again."""


class QueryFailed(SourceError):
    """The source refused the question."""


class NotRecorded(SourceError):
    """The recorded evidence holds no answer to this question. Run against the live source instead."""


class EmbeddedError(RunbookError):
    """The embedded PostgreSQL cannot run here. Set RUNBOOK_POSTGRES_BIN to a folder with initdb and postgres."""


class StorageError(RunbookError):
    """Artifacts or history cannot be read or written."""


class TryLaterError(RunbookError):
    """It was not taken, and who refused it may have said when to try again: `retry_after_seconds`, 0 where not."""

    def __init__(self, message: str | None = None, retry_after_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class DemoError(RunbookError):
    """The simulated platform cannot be built or started."""
