-- Realised and unrealised PnL of the sessions' positions, from the positions table.
SELECT count(*) FILTER (WHERE exit_time IS NOT NULL) AS closed,
       count(*) FILTER (WHERE exit_time IS NULL) AS open,
       count(*) FILTER (WHERE exit_time IS NOT NULL AND realized_pnl < 0) AS losing,
       coalesce(sum(realized_pnl) FILTER (WHERE realized_pnl <> 'NaN'), 0) AS realized_pnl,
       coalesce(sum(unrealized_pnl) FILTER (WHERE exit_time IS NULL AND unrealized_pnl <> 'NaN'), 0) AS unrealized_pnl,
       coalesce(sum(fees) FILTER (WHERE fees <> 'NaN'), 0) AS fees,
       count(*) FILTER (WHERE realized_pnl = 'NaN' OR unrealized_pnl = 'NaN'
                           OR (realized_pnl IS NULL AND exit_time IS NOT NULL)) AS without_pnl
FROM positions
WHERE session_id = ANY(%(session_ids)s::uuid[]) AND entry_time <= %(as_of)s
