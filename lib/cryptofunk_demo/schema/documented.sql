-- The schema as the written runbook's queries take it. Where they are silent, it is the platform's.
CREATE TYPE order_side AS ENUM ('BUY', 'SELL');
CREATE TYPE order_type AS ENUM ('MARKET', 'LIMIT', 'STOP_LOSS', 'STOP_LOSS_LIMIT', 'TAKE_PROFIT');
CREATE TYPE order_status AS ENUM ('NEW', 'PARTIALLY_FILLED', 'FILLED', 'CANCELED', 'REJECTED', 'EXPIRED');
CREATE TYPE signal_type AS ENUM ('BUY', 'SELL', 'HOLD');
CREATE TYPE trading_mode AS ENUM ('PAPER', 'LIVE');

CREATE TABLE candlesticks (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    symbol varchar(20) NOT NULL,
    exchange varchar(50) NOT NULL,
    interval varchar(10) NOT NULL,
    open_time timestamptz NOT NULL,
    close_time timestamptz NOT NULL,
    open numeric(20,8) NOT NULL,
    high numeric(20,8) NOT NULL,
    low numeric(20,8) NOT NULL,
    close numeric(20,8) NOT NULL,
    volume numeric(30,8) NOT NULL,
    quote_volume numeric(30,8) NOT NULL,
    trades_count integer,
    taker_buy_base_volume numeric(30,8),
    taker_buy_quote_volume numeric(30,8),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (symbol, exchange, interval, open_time)
);
CREATE INDEX candlesticks_open_time ON candlesticks (open_time DESC);

CREATE TABLE trading_sessions (
    session_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    mode trading_mode NOT NULL,
    symbol varchar(20) NOT NULL,
    exchange varchar(50) NOT NULL,
    started_at timestamptz NOT NULL,
    stopped_at timestamptz,
    initial_capital numeric(20,8) NOT NULL,
    final_capital numeric(20,8),
    total_trades integer DEFAULT 0,
    winning_trades integer DEFAULT 0,
    losing_trades integer DEFAULT 0,
    total_pnl numeric(20,8) DEFAULT 0,
    roi_percentage numeric(20,8) DEFAULT 0,
    max_drawdown numeric(20,8) DEFAULT 0,
    sharpe_ratio numeric(20,8),
    config jsonb,
    metadata jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX trading_sessions_created_at ON trading_sessions (created_at DESC);
CREATE INDEX trading_sessions_open ON trading_sessions (started_at DESC) WHERE stopped_at IS NULL;

CREATE TABLE positions (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    session_id uuid REFERENCES trading_sessions (session_id),
    symbol varchar(20) NOT NULL,
    exchange varchar(50) NOT NULL,
    side varchar(10) NOT NULL,
    status varchar(10) NOT NULL CHECK (status IN ('OPEN', 'CLOSED')),
    entry_price numeric(20,8) NOT NULL,
    exit_price numeric(20,8),
    current_price numeric(20,8),
    quantity numeric(20,8) NOT NULL,
    entry_time timestamptz NOT NULL,
    exit_time timestamptz,
    stop_loss numeric(20,8),
    take_profit numeric(20,8),
    realized_pnl numeric(20,8),
    unrealized_pnl numeric(20,8),
    fees numeric(20,8) DEFAULT 0,
    entry_reason text,
    exit_reason text,
    metadata jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX positions_session ON positions (session_id, entry_time DESC);
CREATE INDEX positions_symbol ON positions (symbol, entry_time DESC);
CREATE INDEX positions_open ON positions (session_id) WHERE status = 'OPEN';

CREATE TABLE orders (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    session_id uuid REFERENCES trading_sessions (session_id),
    position_id uuid REFERENCES positions (id),
    exchange_order_id varchar(100),
    symbol varchar(20) NOT NULL,
    exchange varchar(50) NOT NULL,
    side order_side NOT NULL,
    type order_type NOT NULL,
    status order_status NOT NULL,
    price numeric(20,8),
    stop_price numeric(20,8),
    quantity numeric(20,8) NOT NULL,
    executed_quantity numeric(20,8) DEFAULT 0,
    executed_quote_quantity numeric(20,8) DEFAULT 0,
    time_in_force varchar(10),
    placed_at timestamptz NOT NULL,
    filled_at timestamptz,
    canceled_at timestamptz,
    error_message text,
    metadata jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX orders_session ON orders (session_id, placed_at DESC);
CREATE INDEX orders_status ON orders (status, placed_at DESC);
CREATE INDEX orders_position ON orders (position_id);

CREATE TABLE trades (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    order_id uuid NOT NULL REFERENCES orders (id),
    exchange_trade_id varchar(100),
    symbol varchar(20) NOT NULL,
    exchange varchar(50) NOT NULL,
    side order_side NOT NULL,
    price numeric(20,8) NOT NULL,
    quantity numeric(20,8) NOT NULL,
    quote_quantity numeric(20,8) NOT NULL,
    commission numeric(20,8),
    commission_asset varchar(10),
    executed_at timestamptz NOT NULL,
    is_maker boolean DEFAULT false,
    metadata jsonb,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX trades_order ON trades (order_id);
CREATE INDEX trades_executed_at ON trades (executed_at DESC);
CREATE INDEX trades_symbol ON trades (symbol, executed_at DESC);

CREATE TABLE agent_signals (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    session_id uuid REFERENCES trading_sessions (session_id),
    agent_name varchar(100) NOT NULL,
    agent_type varchar(50) NOT NULL,
    symbol varchar(20) NOT NULL,
    signal signal_type NOT NULL,
    confidence numeric(5,4) NOT NULL CHECK (confidence BETWEEN 0 AND 1),
    reasoning text,
    context jsonb,
    indicators jsonb,
    llm_prompt text,
    llm_response text,
    llm_model varchar(100),
    llm_tokens_used integer,
    processing_time_ms integer,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX agent_signals_session ON agent_signals (session_id, created_at DESC);
CREATE INDEX agent_signals_agent ON agent_signals (agent_name, created_at DESC);

CREATE TABLE agent_status (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    agent_name varchar(100) NOT NULL UNIQUE,
    agent_type varchar(50) NOT NULL,
    status varchar(20) NOT NULL,
    pid integer,
    started_at timestamptz,
    last_heartbeat timestamptz,
    total_signals integer DEFAULT 0,
    avg_confidence numeric(5,4),
    error_count integer DEFAULT 0,
    error_message text,
    config jsonb,
    metadata jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE llm_decisions (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    session_id uuid REFERENCES trading_sessions (session_id),
    decision_type varchar(50) NOT NULL,
    symbol varchar(20) NOT NULL,
    prompt text NOT NULL,
    response text NOT NULL,
    model varchar(100) NOT NULL,
    tokens_used integer,
    latency_ms integer,
    cost_usd numeric(10,6),
    cached boolean DEFAULT false,
    outcome varchar(50),
    outcome_pnl numeric(20,8),
    agent_name varchar(100) NOT NULL,
    confidence numeric(5,4),
    context jsonb,
    metadata jsonb,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX llm_decisions_session ON llm_decisions (session_id, created_at DESC);
CREATE INDEX llm_decisions_created_at ON llm_decisions (created_at DESC);

CREATE TABLE performance_metrics (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    session_id uuid REFERENCES trading_sessions (session_id),
    metric_time timestamptz NOT NULL,
    symbol varchar(20),
    total_value numeric(20,8),
    cash_balance numeric(20,8),
    position_value numeric(20,8),
    unrealized_pnl numeric(20,8),
    realized_pnl numeric(20,8),
    total_pnl numeric(20,8),
    win_rate numeric(20,8),
    sharpe_ratio numeric(20,8),
    max_drawdown numeric(20,8),
    metadata jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (id, metric_time)
);
CREATE INDEX performance_metrics_session ON performance_metrics (session_id, metric_time DESC);
CREATE INDEX performance_metrics_time ON performance_metrics (metric_time DESC);

CREATE TABLE orchestrator_state (
    id integer PRIMARY KEY,
    paused boolean NOT NULL DEFAULT false,
    paused_at timestamptz,
    resumed_at timestamptz,
    paused_by varchar(255),
    pause_reason text,
    updated_at timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE audit_logs (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    timestamp timestamptz NOT NULL DEFAULT now(),
    event_type varchar(50) NOT NULL,
    severity varchar(20) NOT NULL,
    user_id varchar(255),
    ip_address varchar(45),
    resource varchar(255),
    action text NOT NULL,
    success boolean NOT NULL DEFAULT true,
    error_message text,
    metadata jsonb,
    request_id varchar(255),
    duration_ms integer,
    PRIMARY KEY (id, timestamp)
);
CREATE INDEX audit_logs_timestamp ON audit_logs (timestamp DESC);
CREATE INDEX audit_logs_event_type ON audit_logs (event_type, timestamp DESC);
