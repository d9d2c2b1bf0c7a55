-- How large each agent's positions of the session were when opened, against the portfolio's starting capital, and how many had no stop.
-- at most: 30
SELECT coalesce(p.metadata ->> 'agent_name', '(not recorded)') AS agent, count(*) AS positions,
       avg(p.quantity * p.entry_price) AS average_notional, max(p.quantity * p.entry_price) AS largest_notional,
       count(*) FILTER (WHERE p.quantity * p.entry_price > %(limit_usdt)s AND p.quantity * p.entry_price <> 'NaN') AS over_limit,
       count(*) FILTER (WHERE p.stop_loss IS NULL) AS without_stop, max(p.entry_time) AS last_entry
FROM positions p
WHERE p.session_id = %(session_id)s::uuid AND p.entry_time <= %(as_of)s
GROUP BY 1
ORDER BY over_limit DESC, largest_notional DESC
