"""A PostgreSQL of our own, for where none is configured: the queue's default and the demo's database.

A folder holds one server: `data/` (the cluster), `password` (mode 0600), `log`, `server.json` (its
port) and two lock files. Every process that starts or joins the server holds a shared lock on
`owners.lock`; a small supervisor process is PostgreSQL's parent, starts it again when it dies, and
stops it as soon as it gets that lock for itself: when the last owner is gone, however it went. The
supervisor holds `supervisor.lock`, so there is never a second one.

    with embedded.start(Path("state")) as server:
        psycopg.connect(server.url())
"""

from runbook.embedded.binaries import find_binaries
from runbook.embedded.server import Server, create_database, drop_database, start

__all__ = ["Server", "create_database", "drop_database", "find_binaries", "start"]
