-- The storm that covers an alert. It belongs to the alert, not to its incident: an incident may hold alerts of
-- other procedures, which are run and told of as ever. incidents.parent_id is set where a storm covers them all.
ALTER TABLE runbook.alerts ADD COLUMN storm_id bigint REFERENCES runbook.incidents ON DELETE SET NULL;
CREATE INDEX alerts_storm ON runbook.alerts (storm_id) WHERE storm_id IS NOT NULL;
UPDATE runbook.alerts a SET storm_id = p.id
FROM runbook.incidents c JOIN runbook.incidents p ON p.id = c.parent_id
WHERE a.incident_id = c.id AND a.procedure = p.procedure AND NOT EXISTS
    (SELECT 1 FROM runbook.runs r WHERE r.incident_id = c.id AND r.procedure = a.procedure AND r.state <> 'not_run');
UPDATE runbook.incidents i SET parent_id = NULL
WHERE i.parent_id IS NOT NULL AND i.closed_at IS NULL
  AND EXISTS (SELECT 1 FROM runbook.alerts a WHERE a.incident_id = i.id AND a.storm_id IS NULL);
