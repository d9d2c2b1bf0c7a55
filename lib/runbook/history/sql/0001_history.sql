-- Incidents, their alerts, runs, findings, timeline and messages. Everything lives in the schema `runbook`,
-- beside Procrastinate's own tables, so that accepting an alert and queueing its run are one commit.

CREATE TABLE runbook.incidents (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL DEFAULT 'group' CHECK (kind IN ('group', 'storm')),
    parent_id bigint REFERENCES runbook.incidents ON DELETE SET NULL,
    key_hash text NOT NULL,
    title text NOT NULL,
    procedure text NOT NULL,
    severity text NOT NULL CHECK (severity IN ('critical', 'warning', 'info')),
    receiver text NOT NULL DEFAULT '',
    external_url text NOT NULL DEFAULT '',
    group_labels jsonb NOT NULL DEFAULT '{}',
    starts_at timestamptz NOT NULL,
    opened_at timestamptz NOT NULL DEFAULT now(),
    last_seen_at timestamptz NOT NULL DEFAULT now(),
    repeats integer NOT NULL DEFAULT 0,
    not_listed integer NOT NULL DEFAULT 0,
    level integer NOT NULL DEFAULT 1,
    closed_at timestamptz,
    closed_how text NOT NULL DEFAULT ''
);
-- One open incident for each Alertmanager group. The key itself may be longer than an index entry holds.
CREATE UNIQUE INDEX incidents_open ON runbook.incidents (key_hash) WHERE closed_at IS NULL;
CREATE INDEX incidents_newest ON runbook.incidents (opened_at DESC, id DESC);
CREATE INDEX incidents_parent ON runbook.incidents (parent_id) WHERE parent_id IS NOT NULL;

-- An alert is its fingerprint and its start. That pair is known once, whoever sends it and however often.
CREATE TABLE runbook.alerts (
    fingerprint text NOT NULL,
    starts_at timestamptz NOT NULL,
    incident_id bigint NOT NULL REFERENCES runbook.incidents ON DELETE CASCADE,
    procedure text NOT NULL,
    name text NOT NULL,
    severity text NOT NULL,
    labels jsonb NOT NULL,
    annotations jsonb NOT NULL,
    generator_url text NOT NULL DEFAULT '',
    received_at timestamptz NOT NULL DEFAULT now(),
    resolved_at timestamptz,
    ends_at timestamptz,
    PRIMARY KEY (fingerprint, starts_at)
);
CREATE INDEX alerts_incident ON runbook.alerts (incident_id, procedure);

CREATE TABLE runbook.runs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    incident_id bigint NOT NULL REFERENCES runbook.incidents ON DELETE CASCADE,
    run_id text UNIQUE,
    procedure text NOT NULL,
    alertname text NOT NULL,
    severity text NOT NULL,
    reason text NOT NULL,
    note text NOT NULL DEFAULT '',
    attempt integer NOT NULL DEFAULT 1,
    state text NOT NULL DEFAULT 'queued' CHECK (state IN (
        'queued', 'running', 'complete', 'degraded', 'failed', 'timed_out', 'cancelled', 'abandoned', 'not_run')),
    job_id bigint,
    worker text NOT NULL DEFAULT '',
    queued_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    finished_at timestamptz,
    seconds double precision,
    verdict text NOT NULL DEFAULT '',
    level text NOT NULL DEFAULT 'unknown',
    outcome jsonb,
    progress jsonb NOT NULL DEFAULT '[]',
    stored text NOT NULL DEFAULT '' CHECK (stored IN ('', 'artifacts', 'database', 'gone'))
);
-- New alerts join the run that waits, so a storm of repeats never makes a second one.
CREATE UNIQUE INDEX runs_one_queued ON runbook.runs (incident_id, procedure) WHERE state = 'queued';
CREATE INDEX runs_incident ON runbook.runs (incident_id, id DESC);
CREATE INDEX runs_newest ON runbook.runs (queued_at DESC, id DESC);
CREATE INDEX runs_rate ON runbook.runs (procedure, queued_at) WHERE state <> 'not_run';
CREATE INDEX runs_active ON runbook.runs (state) WHERE state IN ('queued', 'running');

-- What a run covers.
CREATE TABLE runbook.run_alerts (
    run bigint NOT NULL REFERENCES runbook.runs ON DELETE CASCADE,
    fingerprint text NOT NULL,
    starts_at timestamptz NOT NULL,
    PRIMARY KEY (run, fingerprint, starts_at)
);
CREATE INDEX run_alerts_alert ON runbook.run_alerts (fingerprint, starts_at);

CREATE TABLE runbook.findings (
    run bigint NOT NULL REFERENCES runbook.runs ON DELETE CASCADE,
    position integer NOT NULL,
    finding_id text NOT NULL,
    status text NOT NULL,
    title text NOT NULL,
    detail text NOT NULL,
    PRIMARY KEY (run, position)
);

-- The page of a run whose artifacts could not be stored: kept here until they can.
CREATE TABLE runbook.copies (
    run bigint NOT NULL REFERENCES runbook.runs ON DELETE CASCADE,
    name text NOT NULL,
    content bytea NOT NULL,
    PRIMARY KEY (run, name)
);

CREATE TABLE runbook.events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    incident_id bigint NOT NULL REFERENCES runbook.incidents ON DELETE CASCADE,
    run bigint REFERENCES runbook.runs ON DELETE SET NULL,
    at timestamptz NOT NULL DEFAULT now(),
    kind text NOT NULL,
    text text NOT NULL DEFAULT ''
);
CREATE INDEX events_incident ON runbook.events (incident_id, id);

CREATE TABLE runbook.deliveries (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    incident_id bigint NOT NULL REFERENCES runbook.incidents ON DELETE CASCADE,
    run bigint REFERENCES runbook.runs ON DELETE SET NULL,
    -- What makes it one message: a second one with the same key is never made.
    key text NOT NULL UNIQUE,
    medium text NOT NULL CHECK (medium IN ('slack', 'mail')),
    kind text NOT NULL,
    text text NOT NULL DEFAULT '',
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'sent', 'failed')),
    attempts integer NOT NULL DEFAULT 0,
    error text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    sent_at timestamptz
);
CREATE INDEX deliveries_incident ON runbook.deliveries (incident_id, id);

-- Figures for /metrics that only grow, also after old runs are pruned.
CREATE TABLE runbook.counts (
    metric text NOT NULL,
    labels text[] NOT NULL,
    value double precision NOT NULL,
    PRIMARY KEY (metric, labels)
);
