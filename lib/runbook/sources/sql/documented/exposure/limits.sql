-- The risk limits of the session in question, as its configuration has them, and the portfolio's value at the report.
SELECT s.session_id::text AS session_id, s.mode::text AS mode, s.started_at, s.initial_capital,
       s.config -> 'risk' ->> 'max_position_size' AS max_position_size, s.config -> 'trading' ->> 'max_positions' AS max_positions,
       s.config -> 'risk' ->> 'default_stop_loss' AS default_stop_loss, s.config -> 'risk' ->> 'min_confidence' AS min_confidence,
       s.config -> 'risk' ->> 'max_daily_loss' AS max_daily_loss,
       (SELECT m.total_value FROM performance_metrics m
        WHERE m.session_id = s.session_id AND m.symbol IS NULL AND m.metric_time <= %(as_of)s AND m.total_value <> 'NaN'
        ORDER BY m.metric_time DESC LIMIT 1) AS equity,
       s.initial_capital + CASE WHEN s.total_pnl <> 'NaN' THEN s.total_pnl ELSE 0 END AS stored_equity
FROM trading_sessions s
WHERE s.created_at <= %(as_of)s
ORDER BY (s.stopped_at IS NULL OR s.stopped_at >= %(starts_at)s) DESC, (s.mode = 'LIVE') DESC, s.created_at DESC
LIMIT 1
