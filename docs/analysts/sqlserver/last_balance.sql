-- Last known balance per account, and when the account was last read at all.
WITH ranked AS (
    SELECT
        smspartner_conn_id AS smspartner_conn_id,
        balance AS balance,
        currency AS currency,
        CAST(captured_at AT TIME ZONE 'UTC' AS DATETIME2(6)) AS known_at_utc,
        ROW_NUMBER() OVER (PARTITION BY smspartner_conn_id ORDER BY captured_at DESC, snapshot_id DESC) AS age
    FROM smspartner_credit_snapshots
    WHERE
        balance IS NOT NULL
), readings AS (
    SELECT
        smspartner_conn_id AS smspartner_conn_id,
        MAX(CAST(captured_at AT TIME ZONE 'UTC' AS DATETIME2(6))) AS read_at_utc
    FROM smspartner_credit_snapshots
    GROUP BY
        smspartner_conn_id
)
SELECT
    readings.smspartner_conn_id,
    ranked.balance,
    ranked.currency,
    ranked.known_at_utc,
    readings.read_at_utc
FROM readings
LEFT JOIN ranked
    ON ranked.smspartner_conn_id = readings.smspartner_conn_id AND ranked.age = 1
ORDER BY
    readings.smspartner_conn_id;
