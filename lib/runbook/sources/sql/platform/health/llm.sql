-- What LLM decisions cost and how long they took, by model: from since to as_of, and in the span before of the same length.
-- at most: 20
SELECT coalesce(model, '(not recorded)') AS model,
       count(*) FILTER (WHERE created_at > %(since)s) AS decisions,
       sum(cost_usd) FILTER (WHERE created_at > %(since)s) AS cost_usd,
       avg(latency_ms) FILTER (WHERE created_at > %(since)s) AS mean_latency_ms,
       sum(tokens_used) FILTER (WHERE created_at > %(since)s) AS tokens,
       count(*) FILTER (WHERE created_at <= %(since)s) AS decisions_before,
       sum(cost_usd) FILTER (WHERE created_at <= %(since)s) AS cost_usd_before
FROM llm_decisions
WHERE created_at BETWEEN %(before)s AND %(as_of)s
GROUP BY 1
ORDER BY decisions DESC
