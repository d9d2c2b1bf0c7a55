-- Signals by agent and time bucket of the window, with the last one of each bucket.
-- at most: 5000
SELECT agent_name, to_timestamp(floor(extract(epoch FROM created_at) / %(seconds)s) * %(seconds)s) AS bucket,
       count(*) AS signals, max(created_at) AS last
FROM agent_signals
WHERE created_at BETWEEN %(start)s AND %(as_of)s
GROUP BY 1, 2
ORDER BY 1, 2
