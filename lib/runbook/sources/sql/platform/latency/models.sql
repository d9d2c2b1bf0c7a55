-- LLM calls of the 20 slowest models: latency, tokens, cache hits and cost, before the alert and since half an hour before it.
SELECT coalesce(model, 'unknown') AS model,
       count(*) FILTER (WHERE created_at < %(since)s) AS calls_before,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY latency_ms) FILTER (WHERE created_at < %(since)s) AS p95_before_ms,
       count(*) FILTER (WHERE created_at >= %(since)s) AS calls_now,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY latency_ms) FILTER (WHERE created_at >= %(since)s) AS p95_now_ms,
       avg(tokens_used) FILTER (WHERE created_at >= %(since)s) AS tokens_now,
       avg(coalesce(cached, false)::int) FILTER (WHERE created_at >= %(since)s) AS cached_now,
       sum(cost_usd) FILTER (WHERE created_at >= %(since)s) AS cost_now_usd
FROM llm_decisions
WHERE created_at BETWEEN %(start)s AND %(as_of)s
GROUP BY 1
ORDER BY p95_now_ms DESC NULLS LAST, calls_now DESC
LIMIT 20
