-- Which signal opened each open position, and what the risk agent answered: those that are recorded with it, else the last before the entry.
-- Without a record it is inferred, from the last signal for the symbol and side within ten minutes; HOLD and the other side open nothing.
-- at most: 200
SELECT p.id::text AS position_id, p.symbol, p.side::text AS side, p.entry_time,
       coalesce(p.metadata ->> 'agent_name', g.agent_name, '(not recorded)') AS agent,
       p.metadata ->> 'agent_name' IS NULL AND g.id IS NOT NULL AND g.id::text IS DISTINCT FROM p.metadata ->> 'signal_id' AS inferred,
       extract(epoch FROM p.entry_time - g.created_at)::float8 AS signal_seconds,
       g.signal::text AS signal, g.confidence, g.reasoning,
       g.llm_model AS model, g.created_at AS signalled_at, p.entry_reason,
       d.response AS risk_answer, d.confidence AS risk_confidence, d.created_at AS answered_at,
       coalesce(d.metadata ->> 'signal_id' = p.metadata ->> 'signal_id', false) AS answer_recorded,
       extract(epoch FROM p.entry_time - d.created_at)::float8 AS answer_seconds,
       CASE WHEN d.context ->> 'position_share' ~ '^[0-9.]{1,20}$' THEN d.context ->> 'position_share' END AS stated_share
FROM positions p
LEFT JOIN LATERAL (
    SELECT * FROM agent_signals g
    WHERE (g.session_id = p.session_id OR g.session_id IS NULL) AND g.created_at BETWEEN p.entry_time - interval '10 minutes' AND p.entry_time
      AND (g.id::text = p.metadata ->> 'signal_id'
           OR g.symbol = p.symbol AND g.signal::text = CASE p.side::text WHEN 'SHORT' THEN 'SELL' WHEN 'LONG' THEN 'BUY' END
              AND g.agent_name = coalesce(p.metadata ->> 'agent_name', g.agent_name))
    ORDER BY (g.id::text = p.metadata ->> 'signal_id') DESC NULLS LAST, g.created_at DESC LIMIT 1
) g ON true
LEFT JOIN LATERAL (
    SELECT * FROM llm_decisions d
    WHERE d.session_id = p.session_id AND d.created_at BETWEEN p.entry_time - interval '10 minutes' AND p.entry_time
      AND d.decision_type LIKE 'risk%%' AND d.symbol = p.symbol
    ORDER BY (d.metadata ->> 'signal_id' = p.metadata ->> 'signal_id') DESC NULLS LAST, d.created_at DESC LIMIT 1
) d ON true
WHERE (p.entry_time <= %(as_of)s OR p.entry_time IS NULL) AND p.status = 'OPEN'
ORDER BY p.entry_time DESC
