-- Is trading paused, since when, by whom and why?
SELECT paused, paused_at, resumed_at, paused_by, pause_reason, updated_at
FROM orchestrator_state
WHERE updated_at <= %(as_of)s OR updated_at IS NULL OR NOT isfinite(updated_at)
ORDER BY updated_at DESC NULLS LAST
LIMIT 1
