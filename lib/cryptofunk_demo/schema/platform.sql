-- The platform's schema as it runs today; tests/integration/test_drift.py compares it with tests/reference.
-- TimescaleDB is not here: its hypertables (candlesticks, performance_metrics, audit_logs) are plain tables.
CREATE EXTENSION IF NOT EXISTS vector;

CREATE TYPE order_side AS ENUM ('BUY', 'SELL');
CREATE TYPE order_type AS ENUM ('MARKET', 'LIMIT', 'STOP_LOSS', 'STOP_LOSS_LIMIT', 'TAKE_PROFIT', 'TAKE_PROFIT_LIMIT');
CREATE TYPE order_status AS ENUM ('NEW', 'PARTIALLY_FILLED', 'FILLED', 'CANCELED', 'REJECTED', 'EXPIRED');
CREATE TYPE position_side AS ENUM ('LONG', 'SHORT', 'FLAT');
CREATE TYPE signal_type AS ENUM ('BUY', 'SELL', 'HOLD');
CREATE TYPE trading_mode AS ENUM ('PAPER', 'LIVE');
CREATE TYPE agent_state_type AS ENUM ('STARTING', 'RUNNING', 'STOPPED', 'ERROR');
CREATE TYPE feedback_rating AS ENUM ('positive', 'negative');

CREATE TABLE candlesticks (
    id bigserial,
    symbol varchar(20) NOT NULL,
    exchange varchar(50) NOT NULL DEFAULT 'binance',
    interval varchar(10) NOT NULL,
    open_time timestamptz NOT NULL,
    close_time timestamptz NOT NULL,
    open numeric(20,8) NOT NULL,
    high numeric(20,8) NOT NULL,
    low numeric(20,8) NOT NULL,
    close numeric(20,8) NOT NULL,
    volume numeric(30,8) NOT NULL,
    quote_volume numeric(30,8),
    trades_count integer,
    taker_buy_base_volume numeric(30,8),
    taker_buy_quote_volume numeric(30,8),
    created_at timestamptz DEFAULT now(),
    PRIMARY KEY (symbol, exchange, interval, open_time)
);
CREATE INDEX candlesticks_exchange_symbol_open_time ON candlesticks (exchange, symbol, open_time DESC);
CREATE INDEX candlesticks_symbol_open_time ON candlesticks (symbol, open_time DESC);

CREATE TABLE trading_sessions (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    mode trading_mode NOT NULL,
    symbol varchar(20) NOT NULL,
    exchange varchar(50) NOT NULL DEFAULT 'binance',
    started_at timestamptz DEFAULT now(),
    stopped_at timestamptz,
    initial_capital numeric(20,8) NOT NULL,
    final_capital numeric(20,8),
    total_trades integer DEFAULT 0,
    winning_trades integer DEFAULT 0,
    losing_trades integer DEFAULT 0,
    total_pnl numeric(20,8) DEFAULT 0,
    max_drawdown numeric(20,8) DEFAULT 0,
    sharpe_ratio numeric(10,4),
    config jsonb,
    metadata jsonb,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now()
);
CREATE INDEX trading_sessions_mode_started_at ON trading_sessions (mode, started_at DESC);
CREATE INDEX trading_sessions_symbol_started_at ON trading_sessions (symbol, started_at DESC);

CREATE TABLE positions (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    session_id uuid REFERENCES trading_sessions ON DELETE CASCADE,
    symbol varchar(20) NOT NULL,
    exchange varchar(50) NOT NULL DEFAULT 'binance',
    side position_side NOT NULL,
    entry_price numeric(20,8) NOT NULL,
    exit_price numeric(20,8),
    quantity numeric(30,8) NOT NULL,
    entry_time timestamptz DEFAULT now(),
    exit_time timestamptz,
    stop_loss numeric(20,8),
    take_profit numeric(20,8),
    realized_pnl numeric(20,8),
    unrealized_pnl numeric(20,8),
    fees numeric(20,8) DEFAULT 0,
    entry_reason text,
    exit_reason text,
    metadata jsonb,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now()
);
CREATE INDEX positions_exit_time ON positions (exit_time) WHERE exit_time IS NULL;
CREATE INDEX positions_session_id_entry_time ON positions (session_id, entry_time DESC);
CREATE INDEX positions_symbol_entry_time ON positions (symbol, entry_time DESC);

CREATE TABLE orders (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    session_id uuid REFERENCES trading_sessions ON DELETE CASCADE,
    position_id uuid REFERENCES positions ON DELETE SET NULL,
    exchange_order_id varchar(100),
    symbol varchar(20) NOT NULL,
    exchange varchar(50) NOT NULL DEFAULT 'binance',
    side order_side NOT NULL,
    type order_type NOT NULL,
    status order_status NOT NULL,
    price numeric(20,8),
    stop_price numeric(20,8),
    quantity numeric(30,8) NOT NULL,
    executed_quantity numeric(30,8) DEFAULT 0,
    executed_quote_quantity numeric(30,8) DEFAULT 0,
    time_in_force varchar(10),
    placed_at timestamptz DEFAULT now(),
    filled_at timestamptz,
    canceled_at timestamptz,
    error_message text,
    metadata jsonb,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now()
);
CREATE INDEX orders_exchange_order_id ON orders (exchange_order_id) WHERE exchange_order_id IS NOT NULL;
CREATE INDEX orders_session_id_placed_at ON orders (session_id, placed_at DESC);
CREATE INDEX orders_status_placed_at ON orders (status, placed_at DESC);
CREATE INDEX orders_symbol_placed_at ON orders (symbol, placed_at DESC);

CREATE TABLE trades (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    order_id uuid REFERENCES orders ON DELETE CASCADE,
    exchange_trade_id varchar(100),
    symbol varchar(20) NOT NULL,
    exchange varchar(50) NOT NULL DEFAULT 'binance',
    side order_side NOT NULL,
    price numeric(20,8) NOT NULL,
    quantity numeric(30,8) NOT NULL,
    quote_quantity numeric(30,8) NOT NULL,
    commission numeric(20,8) DEFAULT 0,
    commission_asset varchar(10),
    executed_at timestamptz NOT NULL,
    is_maker boolean DEFAULT false,
    metadata jsonb,
    created_at timestamptz DEFAULT now()
);
CREATE INDEX trades_exchange_trade_id ON trades (exchange_trade_id) WHERE exchange_trade_id IS NOT NULL;
CREATE INDEX trades_order_id_executed_at ON trades (order_id, executed_at DESC);
CREATE INDEX trades_symbol_executed_at ON trades (symbol, executed_at DESC);

CREATE TABLE agent_signals (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    session_id uuid REFERENCES trading_sessions ON DELETE CASCADE,
    agent_name varchar(100) NOT NULL,
    agent_type varchar(50) NOT NULL,
    symbol varchar(20) NOT NULL,
    signal signal_type NOT NULL,
    confidence numeric(5,4) NOT NULL,
    reasoning text,
    context jsonb,
    indicators jsonb,
    llm_prompt text,
    llm_response text,
    llm_model varchar(100),
    llm_tokens_used integer,
    processing_time_ms integer,
    created_at timestamptz DEFAULT now(),
    CHECK (confidence >= 0 AND confidence <= 1)
);
CREATE INDEX agent_signals_agent_name_created_at ON agent_signals (agent_name, created_at DESC);
CREATE INDEX agent_signals_session_id_created_at ON agent_signals (session_id, created_at DESC);
CREATE INDEX agent_signals_symbol_created_at ON agent_signals (symbol, created_at DESC);

CREATE TABLE agent_status (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    agent_name varchar(100) NOT NULL UNIQUE,
    agent_type varchar(50) NOT NULL,
    status agent_state_type NOT NULL,
    pid integer,
    started_at timestamptz,
    last_heartbeat timestamptz,
    total_signals integer DEFAULT 0,
    avg_confidence numeric(5,4),
    error_count integer DEFAULT 0,
    last_error text,
    config jsonb,
    metadata jsonb,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now()
);
CREATE INDEX agent_status_agent_type_status ON agent_status (agent_type, status);

CREATE TABLE llm_decisions (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    session_id uuid REFERENCES trading_sessions ON DELETE CASCADE,
    decision_type varchar(50) NOT NULL,
    symbol varchar(20) NOT NULL,
    prompt text NOT NULL,
    prompt_embedding vector(1536),
    response text NOT NULL,
    model varchar(100) NOT NULL,
    tokens_used integer,
    latency_ms integer,
    cost_usd numeric(10,6),
    cached boolean DEFAULT false,
    outcome varchar(50),
    outcome_pnl numeric(20,8),
    metadata jsonb,
    created_at timestamptz DEFAULT now(),
    agent_name varchar(100) NOT NULL DEFAULT 'unknown',
    confidence numeric(5,4) DEFAULT 0,
    context jsonb
);
CREATE INDEX llm_decisions_agent_name_created_at ON llm_decisions (agent_name, created_at DESC);
CREATE INDEX llm_decisions_confidence ON llm_decisions (confidence) WHERE confidence > 0.8;
CREATE INDEX llm_decisions_prompt_embedding ON llm_decisions USING ivfflat (prompt_embedding vector_cosine_ops);
CREATE INDEX llm_decisions_text ON llm_decisions USING gin (
    to_tsvector('english', coalesce(prompt, '') || ' ' || coalesce(response, ''))
);
CREATE INDEX llm_decisions_created_at ON llm_decisions (created_at DESC) WHERE confidence >= 0.8;
CREATE INDEX llm_decisions_latency_ms ON llm_decisions (latency_ms) WHERE latency_ms IS NOT NULL;
CREATE INDEX llm_decisions_model_created_at ON llm_decisions (model, created_at DESC);
CREATE INDEX llm_decisions_outcome ON llm_decisions (outcome) WHERE outcome IS NOT NULL;
CREATE INDEX llm_decisions_outcome_outcome_pnl ON llm_decisions (outcome, outcome_pnl) WHERE outcome IS NOT NULL;
CREATE INDEX llm_decisions_session_id_created_at ON llm_decisions (session_id, created_at DESC);
CREATE INDEX llm_decisions_session_id_created_at_2 ON llm_decisions (session_id, created_at DESC)
    WHERE session_id IS NOT NULL;
CREATE INDEX llm_decisions_symbol_created_at ON llm_decisions (symbol, created_at DESC);
CREATE INDEX llm_decisions_decision_type_created_at ON llm_decisions (decision_type, created_at DESC);

CREATE TABLE performance_metrics (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    session_id uuid REFERENCES trading_sessions ON DELETE CASCADE,
    metric_time timestamptz NOT NULL,
    symbol varchar(20) NOT NULL,
    total_value numeric(20,8) NOT NULL,
    cash_balance numeric(20,8) NOT NULL,
    position_value numeric(20,8) NOT NULL,
    unrealized_pnl numeric(20,8),
    realized_pnl numeric(20,8),
    total_pnl numeric(20,8),
    win_rate numeric(5,4),
    sharpe_ratio numeric(10,4),
    max_drawdown numeric(20,8),
    metadata jsonb,
    created_at timestamptz DEFAULT now(),
    PRIMARY KEY (id, metric_time)
);
CREATE INDEX performance_metrics_session_id_metric_time ON performance_metrics (session_id, metric_time DESC);

CREATE TABLE orchestrator_state (
    id integer DEFAULT 1 PRIMARY KEY,
    paused boolean NOT NULL DEFAULT false,
    paused_at timestamptz,
    resumed_at timestamptz,
    paused_by varchar(255),
    pause_reason text,
    updated_at timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX orchestrator_state_updated_at ON orchestrator_state (updated_at DESC);

CREATE TABLE audit_logs (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    timestamp timestamptz NOT NULL DEFAULT now(),
    event_type varchar(50) NOT NULL,
    severity varchar(20) NOT NULL,
    user_id varchar(255),
    ip_address varchar(45) NOT NULL,
    user_agent text,
    resource varchar(255),
    action text NOT NULL,
    success boolean NOT NULL DEFAULT true,
    error_message text,
    metadata jsonb,
    request_id varchar(255),
    duration_ms bigint,
    CHECK (severity IN ('INFO', 'WARNING', 'ERROR', 'CRITICAL')),
    CHECK (event_type IN (
        'LOGIN', 'LOGOUT', 'LOGIN_FAILED', 'PASSWORD_CHANGE', 'TRADING_START', 'TRADING_STOP', 'TRADING_PAUSE',
        'TRADING_RESUME', 'ORDER_PLACED', 'ORDER_CANCELED', 'ORDER_FILLED', 'CONFIG_UPDATED', 'CONFIG_VIEWED',
        'STRATEGY_UPDATED', 'STRATEGY_IMPORTED', 'STRATEGY_EXPORTED', 'STRATEGY_CLONED', 'STRATEGY_MERGED',
        'AGENT_STARTED', 'AGENT_STOPPED', 'AGENT_FAILED', 'RATE_LIMIT_EXCEEDED', 'UNAUTHORIZED_ACCESS',
        'INVALID_INPUT', 'DATA_EXPORT', 'DATA_DELETE', 'DECISION_LIST_ACCESSED', 'DECISION_VIEWED',
        'DECISION_SEARCHED', 'DECISION_STATS_ACCESSED', 'DECISION_SIMILAR_ACCESSED'
    )),
    PRIMARY KEY (id, timestamp)
);
CREATE INDEX audit_logs_event_type_timestamp ON audit_logs (event_type, "timestamp" DESC)
    WHERE event_type IN (
        'DECISION_LIST_ACCESSED', 'DECISION_VIEWED', 'DECISION_SEARCHED', 'DECISION_STATS_ACCESSED',
        'DECISION_SIMILAR_ACCESSED'
    );
CREATE INDEX audit_logs_event_type ON audit_logs (event_type);
CREATE INDEX audit_logs_ip_address ON audit_logs (ip_address);
CREATE INDEX audit_logs_ip_address_timestamp ON audit_logs (ip_address, "timestamp" DESC);
CREATE INDEX audit_logs_resource ON audit_logs (resource) WHERE resource IS NOT NULL;
CREATE INDEX audit_logs_severity ON audit_logs (severity);
CREATE INDEX audit_logs_success ON audit_logs (success);
CREATE INDEX audit_logs_timestamp ON audit_logs ("timestamp" DESC);
CREATE INDEX audit_logs_user_id ON audit_logs (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX audit_logs_user_id_timestamp ON audit_logs (user_id, "timestamp" DESC) WHERE user_id IS NOT NULL;

CREATE TABLE strategies (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    name varchar(100) NOT NULL,
    description text,
    schema_version varchar(20) NOT NULL DEFAULT '1.0',
    config jsonb NOT NULL,
    is_active boolean DEFAULT false,
    author varchar(255),
    version varchar(20) DEFAULT '1.0.0',
    tags text[],
    source varchar(100),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX strategies_config ON strategies USING gin (config jsonb_path_ops);
CREATE INDEX strategies_created_at ON strategies (created_at DESC);
CREATE INDEX strategies_is_active ON strategies (is_active) WHERE is_active = true;
CREATE INDEX strategies_name ON strategies (name);
CREATE INDEX strategies_schema_version ON strategies (schema_version);
CREATE INDEX strategies_tags ON strategies USING gin (tags);
CREATE INDEX strategies_updated_at ON strategies (updated_at DESC);
CREATE INDEX strategies_is_active_2 ON strategies (is_active) WHERE is_active = true;

CREATE TABLE decision_feedback (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    decision_id uuid NOT NULL REFERENCES llm_decisions ON DELETE CASCADE,
    user_id uuid,
    rating feedback_rating NOT NULL,
    comment text,
    tags text[],
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    session_id uuid REFERENCES trading_sessions ON DELETE SET NULL,
    symbol varchar(20),
    decision_type varchar(50),
    agent_name varchar(100),
    UNIQUE (decision_id, user_id)
);
CREATE INDEX decision_feedback_agent_name_rating ON decision_feedback (agent_name, rating)
    WHERE agent_name IS NOT NULL;
CREATE INDEX decision_feedback_created_at ON decision_feedback (created_at DESC);
CREATE INDEX decision_feedback_decision_id ON decision_feedback (decision_id);
CREATE INDEX decision_feedback_rating_created_at ON decision_feedback (rating, created_at DESC);
CREATE INDEX decision_feedback_symbol_rating ON decision_feedback (symbol, rating) WHERE symbol IS NOT NULL;
CREATE INDEX decision_feedback_decision_type_rating ON decision_feedback (decision_type, rating)
    WHERE decision_type IS NOT NULL;
CREATE INDEX decision_feedback_user_id ON decision_feedback (user_id) WHERE user_id IS NOT NULL;

CREATE TABLE semantic_memory (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    type varchar(50) NOT NULL,
    content text NOT NULL,
    embedding vector(1536),
    confidence double precision NOT NULL DEFAULT 0.5,
    importance double precision NOT NULL DEFAULT 0.5,
    access_count integer NOT NULL DEFAULT 0,
    source varchar(100) NOT NULL,
    source_id uuid REFERENCES llm_decisions ON DELETE SET NULL,
    agent_name varchar(100) NOT NULL,
    symbol varchar(20),
    context jsonb,
    validation_count integer NOT NULL DEFAULT 0,
    success_count integer NOT NULL DEFAULT 0,
    failure_count integer NOT NULL DEFAULT 0,
    last_validated timestamp,
    created_at timestamp NOT NULL DEFAULT now(),
    updated_at timestamp NOT NULL DEFAULT now(),
    expires_at timestamp,
    CHECK (type IN ('fact', 'pattern', 'experience', 'strategy', 'risk')),
    CHECK (confidence >= 0.0 AND confidence <= 1.0),
    CHECK (importance >= 0.0 AND importance <= 1.0)
);
CREATE INDEX semantic_memory_agent_name ON semantic_memory (agent_name);
CREATE INDEX semantic_memory_context ON semantic_memory USING gin (context);
CREATE INDEX semantic_memory_created_at ON semantic_memory (created_at DESC);
CREATE INDEX semantic_memory_embedding ON semantic_memory USING ivfflat (embedding vector_cosine_ops);
CREATE INDEX semantic_memory_expires_at ON semantic_memory (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX semantic_memory_importance_confidence ON semantic_memory (importance DESC, confidence DESC);
CREATE INDEX semantic_memory_source_source_id ON semantic_memory (source, source_id);
CREATE INDEX semantic_memory_symbol ON semantic_memory (symbol) WHERE symbol IS NOT NULL;
CREATE INDEX semantic_memory_type ON semantic_memory (type);
CREATE INDEX semantic_memory_type_agent_name_created_at ON semantic_memory (type, agent_name, created_at DESC);

CREATE TABLE procedural_memory_policies (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    type varchar(50) NOT NULL,
    name varchar(200) NOT NULL,
    description text,
    conditions jsonb NOT NULL,
    actions jsonb NOT NULL,
    parameters jsonb,
    times_applied integer NOT NULL DEFAULT 0,
    success_count integer NOT NULL DEFAULT 0,
    failure_count integer NOT NULL DEFAULT 0,
    avg_pnl double precision NOT NULL DEFAULT 0,
    total_pnl double precision NOT NULL DEFAULT 0,
    sharpe double precision NOT NULL DEFAULT 0,
    max_drawdown double precision NOT NULL DEFAULT 0,
    win_rate double precision NOT NULL DEFAULT 0,
    agent_name varchar(100) NOT NULL,
    symbol varchar(20),
    learned_from varchar(50) NOT NULL,
    source_id uuid,
    confidence double precision NOT NULL DEFAULT 0.5,
    is_active boolean NOT NULL DEFAULT true,
    priority integer NOT NULL DEFAULT 0,
    created_at timestamp NOT NULL DEFAULT now(),
    updated_at timestamp NOT NULL DEFAULT now(),
    last_applied timestamp,
    last_modified timestamp,
    CHECK (type IN ('entry', 'exit', 'sizing', 'risk', 'hedging', 'rebalancing')),
    CHECK (win_rate >= 0.0 AND win_rate <= 1.0),
    CHECK (confidence >= 0.0 AND confidence <= 1.0)
);
CREATE INDEX procedural_memory_policies_actions ON procedural_memory_policies USING gin (actions);
CREATE INDEX procedural_memory_policies_is_active_priority ON procedural_memory_policies (is_active, priority DESC)
    WHERE is_active = true;
CREATE INDEX procedural_memory_policies_agent_name ON procedural_memory_policies (agent_name);
CREATE INDEX procedural_memory_policies_conditions ON procedural_memory_policies USING gin (conditions);
CREATE INDEX procedural_memory_policies_created_at ON procedural_memory_policies (created_at DESC);
CREATE INDEX procedural_memory_policies_sharpe_avg_pnl ON procedural_memory_policies (sharpe DESC, avg_pnl DESC)
    WHERE (is_active = true) AND (times_applied >= 5);
CREATE INDEX procedural_memory_policies_symbol ON procedural_memory_policies (symbol) WHERE symbol IS NOT NULL;
CREATE INDEX procedural_memory_policies_type ON procedural_memory_policies (type);

CREATE TABLE procedural_memory_skills (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    type varchar(50) NOT NULL,
    name varchar(200) NOT NULL,
    description text,
    implementation jsonb NOT NULL,
    parameters jsonb,
    prerequisites jsonb,
    times_used integer NOT NULL DEFAULT 0,
    success_count integer NOT NULL DEFAULT 0,
    failure_count integer NOT NULL DEFAULT 0,
    avg_duration double precision NOT NULL DEFAULT 0,
    avg_accuracy double precision NOT NULL DEFAULT 0,
    agent_name varchar(100) NOT NULL,
    learned_from varchar(50) NOT NULL,
    source_id uuid,
    proficiency double precision NOT NULL DEFAULT 0.5,
    is_active boolean NOT NULL DEFAULT true,
    created_at timestamp NOT NULL DEFAULT now(),
    updated_at timestamp NOT NULL DEFAULT now(),
    last_used timestamp,
    CHECK (proficiency >= 0.0 AND proficiency <= 1.0),
    CHECK (type IN (
        'technical_analysis', 'orderbook_analysis', 'sentiment_analysis', 'trend_following', 'mean_reversion',
        'risk_management'
    )),
    CHECK (avg_accuracy >= 0.0 AND avg_accuracy <= 1.0)
);
CREATE INDEX procedural_memory_skills_is_active_proficiency ON procedural_memory_skills (is_active, proficiency DESC)
    WHERE is_active = true;
CREATE INDEX procedural_memory_skills_agent_name ON procedural_memory_skills (agent_name);
CREATE INDEX procedural_memory_skills_created_at ON procedural_memory_skills (created_at DESC);
CREATE INDEX procedural_memory_skills_implementation ON procedural_memory_skills USING gin (implementation);
CREATE INDEX procedural_memory_skills_proficiency ON procedural_memory_skills (proficiency DESC)
    WHERE is_active = true;
CREATE INDEX procedural_memory_skills_type ON procedural_memory_skills (type);

CREATE TABLE api_keys (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    key_hash varchar(64) NOT NULL UNIQUE,
    name varchar(255) NOT NULL,
    user_id varchar(255) NOT NULL,
    permissions jsonb DEFAULT '[]',
    last_used_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked boolean NOT NULL DEFAULT false,
    revoked_at timestamptz,
    metadata jsonb DEFAULT '{}'
);
CREATE INDEX api_keys_expires_at ON api_keys (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX api_keys_key_hash ON api_keys (key_hash);
CREATE INDEX api_keys_revoked ON api_keys (revoked) WHERE revoked = false;
CREATE INDEX api_keys_user_id ON api_keys (user_id);

CREATE TABLE backtest_jobs (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    name varchar(255) NOT NULL,
    status varchar(50) NOT NULL DEFAULT 'pending',
    start_date timestamp NOT NULL,
    end_date timestamp NOT NULL,
    symbols text[] NOT NULL,
    initial_capital numeric(20,8) NOT NULL,
    strategy_config jsonb NOT NULL,
    parameter_grid jsonb,
    results jsonb,
    total_return_pct numeric(10,4),
    sharpe_ratio numeric(10,4),
    max_drawdown_pct numeric(10,4),
    win_rate numeric(10,4),
    total_trades integer,
    error_message text,
    error_details text,
    created_at timestamp NOT NULL DEFAULT now(),
    started_at timestamp,
    completed_at timestamp,
    updated_at timestamp NOT NULL DEFAULT now(),
    created_by varchar(255),
    CHECK (end_date > start_date),
    CHECK (initial_capital > 0),
    CHECK (status IN ('pending', 'running', 'completed', 'failed', 'cancelled'))
);
CREATE INDEX backtest_jobs_created_at ON backtest_jobs (created_at DESC);
CREATE INDEX backtest_jobs_created_by ON backtest_jobs (created_by);
CREATE INDEX backtest_jobs_best ON backtest_jobs (status, sharpe_ratio DESC, total_return_pct DESC)
    WHERE status = 'completed';
CREATE INDEX backtest_jobs_status ON backtest_jobs (status);
CREATE INDEX backtest_jobs_strategy_config ON backtest_jobs USING gin (strategy_config);
