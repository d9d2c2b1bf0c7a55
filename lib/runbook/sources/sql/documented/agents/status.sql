-- What each agent says of itself, the longest silent first.
-- at most: 100
SELECT agent_name, agent_type, status::text AS status, started_at, last_heartbeat, total_signals, error_count, error_message AS last_error
FROM agent_status
WHERE created_at <= %(as_of)s OR created_at IS NULL
ORDER BY last_heartbeat NULLS FIRST
