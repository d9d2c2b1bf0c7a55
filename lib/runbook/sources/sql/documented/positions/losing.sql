-- The written runbook's query: closed positions with a loss, of the session in question, the 20 greatest first.
SELECT symbol, side::text AS side, coalesce(metadata ->> 'agent_name', '(not recorded)') AS agent, quantity, entry_price, exit_price, realized_pnl, entry_time, exit_time, exit_reason
FROM positions
WHERE session_id = %(session_id)s::uuid AND status = 'CLOSED' AND exit_time <= %(as_of)s
  AND realized_pnl < 0 AND realized_pnl <> 'NaN'
ORDER BY realized_pnl
LIMIT 20
