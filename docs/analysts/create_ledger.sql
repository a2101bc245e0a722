CREATE TABLE smspartner_credit_reservations_accounts (
    account_id CHAR(36) NOT NULL,
    account VARCHAR(250) NOT NULL,
    incarnation CHAR(36) NOT NULL,
    version BIGINT NOT NULL,
    balance NUMERIC(18, 6),
    currency VARCHAR(3),
    read_us BIGINT,
    PRIMARY KEY (account_id)
);
CREATE TABLE smspartner_credit_reservations (
    reservation_id CHAR(36) NOT NULL,
    epoch INTEGER NOT NULL,
    account_id CHAR(36) NOT NULL,
    account VARCHAR(250) NOT NULL,
    smspartner_conn_id VARCHAR(250) NOT NULL,
    holder VARCHAR(250),
    dag_id VARCHAR(250),
    task_id VARCHAR(250),
    run_id VARCHAR(250),
    map_index INTEGER,
    attempt VARCHAR(50),
    credit_type VARCHAR(20) NOT NULL,
    asked NUMERIC(18, 6) NOT NULL,
    amount NUMERIC(18, 6) NOT NULL,
    subtract_pending BOOLEAN,
    priority INTEGER,
    in_turn BOOLEAN,
    hold_for_us BIGINT,
    settles_after_us BIGINT,
    requested_at TIMESTAMP WITH TIME ZONE NOT NULL,
    requested_version BIGINT NOT NULL,
    seen_until_us BIGINT,
    called_until_us BIGINT,
    granted_at TIMESTAMP WITH TIME ZONE,
    granted_version BIGINT,
    expires_us BIGINT,
    price NUMERIC(18, 6),
    currency VARCHAR(3),
    balance NUMERIC(18, 6),
    deducted NUMERIC(18, 6) NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE,
    ended_version BIGINT,
    settled_us BIGINT,
    ended_how VARCHAR(20),
    PRIMARY KEY (reservation_id, epoch)
);
CREATE INDEX smspartner_credit_reservations_ended ON smspartner_credit_reservations (account_id, ended_version);
CREATE INDEX smspartner_credit_reservations_run ON smspartner_credit_reservations (run_id, dag_id);
CREATE INDEX smspartner_credit_reservations_settled ON smspartner_credit_reservations (account_id, settled_us);
CREATE TABLE smspartner_credit_reservations_deductions (
    deduction_id CHAR(36) NOT NULL,
    reservation_id CHAR(36) NOT NULL,
    epoch INTEGER NOT NULL,
    account_id CHAR(36) NOT NULL,
    deduction_key VARCHAR(1000) NOT NULL,
    amount NUMERIC(18, 6) NOT NULL,
    deducted_at TIMESTAMP WITH TIME ZONE NOT NULL,
    version BIGINT NOT NULL,
    settled_us BIGINT NOT NULL,
    PRIMARY KEY (deduction_id)
);
CREATE INDEX smspartner_credit_reservations_deductions_of ON smspartner_credit_reservations_deductions (reservation_id, epoch);
CREATE INDEX smspartner_credit_reservations_deductions_settled ON smspartner_credit_reservations_deductions (account_id, settled_us);
CREATE INDEX smspartner_credit_reservations_deductions_version ON smspartner_credit_reservations_deductions (account_id, version);
