-- What people and deploys changed, and starts, stops and pauses of trading, newest first.
-- at most: 50
SELECT "timestamp" AS at, event_type, user_id, resource, action, success, error_message
FROM audit_logs
WHERE "timestamp" BETWEEN %(since)s AND %(as_of)s
  AND event_type IN ('CONFIG_UPDATED', 'TRADING_START', 'TRADING_STOP', 'TRADING_PAUSE', 'TRADING_RESUME', 'AGENT_FAILED')
ORDER BY "timestamp" DESC
