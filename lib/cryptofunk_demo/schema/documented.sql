-- What the written runbook's queries take differently from the platform's schema, which is there before this.
ALTER TABLE trading_sessions RENAME COLUMN id TO session_id;
ALTER TABLE trading_sessions ADD COLUMN roi_percentage numeric(20,8) DEFAULT 0;

ALTER TABLE positions
    ALTER COLUMN side TYPE varchar(10),
    ADD COLUMN status varchar(10) NOT NULL CHECK (status IN ('OPEN', 'CLOSED')),
    ADD COLUMN current_price numeric(20,8);

ALTER TABLE agent_status ALTER COLUMN status TYPE varchar(20);
ALTER TABLE agent_status RENAME COLUMN last_error TO error_message;
