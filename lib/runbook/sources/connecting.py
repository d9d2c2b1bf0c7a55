"""Connecting to PostgreSQL as libpq reads an address, read only; and why that fails, without the address.

DATABASE_URL may be a URL or keywords ("host=… dbname=…"), name several hosts, a service or a passfile, and have any
parameter of libpq's: none of it is read here but by libpq itself.
"""

from __future__ import annotations

import re
from typing import Any

import psycopg
from psycopg import conninfo

from runbook.errors import NotConfigured
from runbook.sources.columns import read_leniently

_NOT_CONFIGURED = "database is not configured: DATABASE_URL"
_TIMEOUT_LEAST_SECONDS = 2  # libpq takes 1 for 2
_OPTIONS = (
    "-c default_transaction_read_only=on -c timezone=UTC -c idle_in_transaction_session_timeout=60000"
    " -c statement_timeout={milliseconds} -c lock_timeout={milliseconds}"
)
# Of Go's drivers pgx and pq: the platform's own services read the same variable with them.
_GO_PARAMETERS = re.compile(
    r"pool_\w+|default_query_exec_mode|statement_cache_\w+|description_cache_\w+|prefer_simple_protocol"
    r"|binary_parameters|disable_prepared_binary_result|fallback_application_name|min_protocol_version"
)
_UNKNOWN_PARAMETER = re.compile(r'invalid (?:URI query parameter|connection option):? "?([^"\n]*)"?')
_INVALID_VALUE = re.compile(r'(?:invalid|weak) (?:integer value .* for connection option "(\w+)"|(\w+)(?: value)?\b)')


def connect(dsn: str, limit_seconds: float, statement_seconds: float) -> psycopg.Connection[Any]:
    """A connection in autocommit mode that only reads, in UTC and UTF-8, each statement limited in time.

    Raises NotConfigured for an address that libpq does not understand, and psycopg.Error.
    """
    given = _read(dsn)
    options = _OPTIONS.format(milliseconds=int(statement_seconds * 1000))
    connection = psycopg.connect(
        dsn,
        autocommit=True,
        connect_timeout=_connect_timeout(given, limit_seconds),
        application_name="runbook",
        client_encoding="UTF8",
        options=f"{given.get('options') or ''} {options}".strip(),
    )
    connection.prepare_threshold = None
    read_leniently(connection.adapters)
    if connection.info.parameter_status("server_encoding") == "SQL_ASCII":
        # It knows no encoding, and would refuse to send as UTF-8 what is none: then its bytes are read here.
        connection.execute("SET client_encoding TO 'SQL_ASCII'")
    return connection


def _read(dsn: str) -> dict[str, Any]:
    """The address's parameters. Raises NotConfigured where it is none, naming a parameter that libpq does not know."""
    try:
        return conninfo.conninfo_to_dict(dsn)
    except psycopg.ProgrammingError as error:
        unknown = _UNKNOWN_PARAMETER.search(str(error))
        if unknown is None or not re.fullmatch(r"\w{1,60}", unknown[1]):
            raise NotConfigured(f"{_NOT_CONFIGURED} is not a PostgreSQL address") from None
        whose = ", which only Go's drivers read" if _GO_PARAMETERS.fullmatch(unknown[1]) else ""
        advice = f"has the parameter {unknown[1]}{whose} and libpq does not know: leave it out"
        raise NotConfigured(f"{_NOT_CONFIGURED} {advice}") from None


def _connect_timeout(given: dict[str, Any], limit_seconds: float) -> int:
    """Seconds to wait for each host that the address names, so that all of them fit into the time limit."""
    hosts = str(given.get("hostaddr") or given.get("host") or "").count(",") + 1
    share = max(_TIMEOUT_LEAST_SECONDS, round(limit_seconds / hosts))
    own = str(given.get("connect_timeout") or "")
    return min(share, max(_TIMEOUT_LEAST_SECONDS, int(own))) if own.isdecimal() and int(own) else share


def reason(error: psycopg.Error) -> str:
    """The server's own first line, else what libpq's message comes to, without the addresses that it names."""
    primary = error.diag.message_primary
    if primary:
        return primary
    text = str(error)
    for sign, meaning in _PROBLEMS.items():
        if sign in text:
            return meaning
    invalid = _INVALID_VALUE.search(text)
    if invalid is not None:
        return f"DATABASE_URL has a value for {invalid[1] or invalid[2]} that cannot be used"
    return "the connection failed or was lost"


_CERTIFICATE = "is sslrootcert right, and is the host named as in the certificate?"
# In this order: what libpq says of a certificate's file also holds "does not exist".
_PROBLEMS = {
    "definition of service": "the service that DATABASE_URL names is in no pg_service.conf (PGSERVICEFILE)",
    "service file": "the service file (PGSERVICEFILE) that DATABASE_URL needs cannot be read",
    "root certificate file": "the certificate authorities that DATABASE_URL names (sslrootcert) cannot be read",
    "could not read root certificate": "the certificate authorities that DATABASE_URL names cannot be read",
    "certificate file": "the client certificate that DATABASE_URL names (sslcert) cannot be read",
    "private key file": "the client's key that DATABASE_URL names (sslkey) cannot be read, or others may read it",
    "certificate verify failed": f"the server's TLS certificate is not trusted; {_CERTIFICATE}",
    "does not match host name": f"the server's TLS certificate is for another host; {_CERTIFICATE}",
    "server does not support SSL": "the server speaks no TLS, which sslmode in DATABASE_URL asks for",
    "SSL error": "the TLS connection failed; is sslmode in DATABASE_URL right?",
    "SSL negotiation": "the TLS connection failed; is sslmode in DATABASE_URL right?",
    "no encryption": "the server takes this role only with TLS (pg_hba.conf); set sslmode=require in DATABASE_URL",
    "no pg_hba.conf entry": "the server does not take this role from here (pg_hba.conf)",
    "no password supplied": "the server asks for a password, and neither DATABASE_URL nor a passfile has one",
    "Connection refused": "connection refused; is the server running and DATABASE_URL right?",
    "timeout expired": "no answer while connecting; is a network policy or firewall between?",
    "could not translate host name": "the host name in DATABASE_URL is unknown",
    "failed to resolve host": "the host name in DATABASE_URL is unknown",
    "Name or service not known": "the host name in DATABASE_URL is unknown",
    "password authentication failed": "the password in DATABASE_URL is not accepted",
    "No such file or directory": "no server listens on the socket that DATABASE_URL names",
    "does not exist": "the role or database in DATABASE_URL does not exist",
    "starting up": "the server is still starting up",
    "shutting down": "the server is shutting down",
    "unsupported startup parameter": "a pooler (PgBouncer) refuses our settings; give the server's own address",
    "too many clients": "the server has no connection left (max_connections)",
    "remaining connection slots": "the server has no connection left (max_connections)",
    "session is read-only": "no host in DATABASE_URL takes writes, as its target_session_attrs asks",
    "session is not read-only": "no host in DATABASE_URL is a standby, as its target_session_attrs asks",
    "server is in hot standby": "no host in DATABASE_URL takes writes, as its target_session_attrs asks",
    "server closed the connection": "the server closed the connection",
    "terminating connection": "the server ended the connection",
}
