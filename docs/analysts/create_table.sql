CREATE TABLE smspartner_credit_snapshots (
    snapshot_id         CHAR(36)                 NOT NULL PRIMARY KEY,
    captured_at         TIMESTAMP WITH TIME ZONE NOT NULL,
    smspartner_conn_id  VARCHAR(250)             NOT NULL,
    credit_sms          BIGINT,
    credit_sms_low_cost BIGINT,
    credit_hlr          BIGINT,
    to_send             BIGINT,
    balance             NUMERIC(18, 6),
    currency            VARCHAR(3),
    dag_id              VARCHAR(250)             NOT NULL,
    task_id             VARCHAR(250)             NOT NULL,
    run_id              VARCHAR(250)             NOT NULL,
    map_index           INTEGER                  NOT NULL,
    logical_date        TIMESTAMP WITH TIME ZONE,
    username            VARCHAR(320)
);
