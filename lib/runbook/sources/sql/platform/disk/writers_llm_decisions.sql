-- Who writes to llm_decisions: its rows of the last day by kind, against a usual day, and since when in these days.
-- at most: 1000
SELECT concat_ws(', ', decision_type, agent_name) AS kind,
       count(*) FILTER (WHERE "created_at" > %(as_of)s - interval '1 day') AS last_day,
       count(*) FILTER (WHERE "created_at" <= %(as_of)s - interval '3 days') AS usual_day,
       min("created_at") AS first
FROM llm_decisions
WHERE "created_at" > %(as_of)s - interval '4 days' AND "created_at" <= %(as_of)s
GROUP BY 1
ORDER BY last_day DESC
