-- Processes that run reports. Procrastinate's own table also counts those that only send and watch.
CREATE TABLE runbook.workers (
    name text PRIMARY KEY,
    concurrency integer NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT now()
);
