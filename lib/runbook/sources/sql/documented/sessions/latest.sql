-- The 5 latest trading sessions as of the report; the one to look at first: live before paper when it ran at the alert's moment.
SELECT session_id::text AS session_id, mode::text AS mode, symbol, exchange, started_at, stopped_at,
       initial_capital, final_capital, total_trades, winning_trades, losing_trades, total_pnl, max_drawdown,
       roi_percentage / 100 AS roi,
       (config -> 'risk' ->> 'max_drawdown') AS max_drawdown_limit
FROM trading_sessions
WHERE created_at <= %(as_of)s
ORDER BY (stopped_at IS NULL OR stopped_at >= %(starts_at)s) DESC, (mode = 'LIVE') DESC, created_at DESC
LIMIT 5
