-- The general procedure runs for alerts that have nothing in common but that nobody wrote one for: of these a run is
-- about one name, and never covers another's. `about` is that name (hashed, for an index), '' for every other procedure.
CREATE FUNCTION runbook.about(procedure text, alertname text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN procedure = 'AnyAlert' THEN md5(alertname) ELSE '' END;
ALTER TABLE runbook.alerts ADD COLUMN about text GENERATED ALWAYS AS (runbook.about(procedure, name)) STORED;
ALTER TABLE runbook.runs ADD COLUMN about text GENERATED ALWAYS AS (runbook.about(procedure, alertname)) STORED;
DROP INDEX runbook.runs_one_queued;
CREATE UNIQUE INDEX runs_one_queued ON runbook.runs (incident_id, procedure, about) WHERE state = 'queued';
