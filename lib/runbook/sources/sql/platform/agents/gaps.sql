-- The usual time between an agent's signals before the alert; several within a second are one, made for several symbols.
-- at most: 100
SELECT agent_name, count(gap) FILTER (WHERE gap >= 1) AS gaps,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY gap) FILTER (WHERE gap >= 1) AS median_seconds,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY gap) FILTER (WHERE gap >= 1) AS p95_seconds,
       max(created_at) AS last
FROM (SELECT agent_name, created_at,
             extract(epoch FROM created_at - lag(created_at) OVER (PARTITION BY agent_name ORDER BY created_at))::float8 AS gap
      FROM agent_signals
      WHERE created_at BETWEEN %(since)s AND %(before)s) AS made
GROUP BY 1
ORDER BY 1
