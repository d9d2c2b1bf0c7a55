"""An S3 bucket, with the calls of fsspec that `artifacts` makes, on obstore.

fsspec's own driver for s3 cannot be installed here: botocore wants python-dateutil below 3, the kubernetes client
3 or above. obstore brings no dependencies, starts no event loop and is imported in 15 ms, by whoever opens a bucket.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook.errors import ConfigurationError

if TYPE_CHECKING:
    from obstore.store import S3Store

# At 3 a.m. a store that hangs must not hold the report: it is kept in the database and uploaded later.
_CONNECT_SECONDS = 3
_REQUEST_SECONDS = 10
_RETRIES = 1
_RETRY_SECONDS = 5
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_CODE = re.compile(r"<Code>([A-Za-z]{1,60})</Code>")
_STATUS = re.compile(r"non-2xx status code: (\d{3})")


class Bucket:
    """The bucket named by the first part of every path. Raises OSErrors whose texts are the server's own code."""

    protocol = "s3"

    def __init__(self, name: str) -> None:
        self.name = name
        self._store = _open(name)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Nothing: a bucket has no folders."""

    def put_file(self, local: str, path: str) -> None:
        with _translated():
            self._store.put(self._key(path), Path(local))

    def cat_file(self, path: str) -> bytes:
        with _translated():
            return bytes(self._store.get(self._key(path)).bytes())

    def rm(self, path: str, recursive: bool = False) -> None:
        """Remove everything below `path`; nothing is done where nothing is."""
        with _translated():
            for found in self._store.list(self._key(path)):
                self._store.delete([item["path"] for item in found])

    def _key(self, path: str) -> str:
        return path.removeprefix(f"{self.name}/")


def _open(name: str) -> S3Store:
    """The store, by the AWS_* variables. Raises ConfigurationError for one that cannot be used."""
    from obstore.exceptions import BaseError
    from obstore.store import S3Store

    endpoint = next((os.environ[n] for n in _ENDPOINTS if os.environ.get(n)), "")
    options: dict[str, Any] = {
        "client_options": {
            "connect_timeout": timedelta(seconds=_CONNECT_SECONDS),
            "timeout": timedelta(seconds=_REQUEST_SECONDS),
            # An address that is written as http:// is meant so.
            "allow_http": endpoint.lower().startswith("http://"),
        },
        "retry_config": {"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=_RETRY_SECONDS)},
    }
    try:
        return S3Store(name, **options)
    except (BaseError, ValueError) as error:
        raise ConfigurationError(
            f"The bucket {name} of RUNBOOK_ARTIFACTS cannot be opened ({type(error).__name__}). "
            "Check the bucket's name and the AWS_* variables."
        ) from None


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """obstore's errors as OSErrors: their own texts are pages long and name the whole request."""
    from obstore.exceptions import BaseError

    try:
        yield
    except FileNotFoundError as error:
        if _code(error) == "NoSuchKey":
            raise FileNotFoundError("NoSuchKey") from None
        # No bucket; or whatever is at that address is no S3 store, and knows nothing of our reports.
        raise OSError(_code(error)) from None
    except BaseError as error:
        raise OSError(_code(error)) from None


def _code(error: Exception) -> str:
    """The server's word for what is wrong; "" where no server answered."""
    text = str(error)
    found = _CODE.search(text)
    if found:
        return found[1]
    if "169.254.169.254" in text or "credential" in text.lower():
        return "NoCredentials"
    status = _STATUS.search(text)
    return f"HTTP {status[1]}" if status else ""
