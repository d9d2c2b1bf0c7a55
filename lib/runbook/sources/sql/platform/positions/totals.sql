-- Realised and unrealised PnL of the session's positions at the report, from the positions table; NULL where none has a usable one.
SELECT count(*) FILTER (WHERE is_closed) AS closed, count(*) FILTER (WHERE NOT is_closed) AS open,
       count(*) FILTER (WHERE is_closed AND realized_pnl < 0) AS losing,
       CASE WHEN bool_or(is_closed AND has_pnl) OR NOT bool_or(is_closed)
            THEN coalesce(sum(realized_pnl) FILTER (WHERE realized_pnl <> 'NaN'), 0) END AS realized_pnl,
       CASE WHEN bool_or(NOT is_closed AND has_pnl) OR bool_and(is_closed)
            THEN coalesce(sum(unrealized_pnl) FILTER (WHERE NOT is_closed AND unrealized_pnl <> 'NaN'), 0) END AS unrealized_pnl,
       coalesce(sum(fees) FILTER (WHERE fees <> 'NaN'), 0) AS fees,
       count(*) FILTER (WHERE NOT has_pnl) AS without_pnl
FROM (SELECT *, coalesce(exit_time <= %(as_of)s, false) AS is_closed,
             CASE WHEN exit_time <= %(as_of)s THEN realized_pnl IS NOT NULL AND realized_pnl <> 'NaN'
                  ELSE coalesce(realized_pnl <> 'NaN', true) AND coalesce(unrealized_pnl <> 'NaN', true) END AS has_pnl
      FROM positions WHERE session_id = %(session_id)s::uuid AND (entry_time <= %(as_of)s OR entry_time IS NULL)) AS held
