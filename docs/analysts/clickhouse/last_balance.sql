-- Last known balance per account, and when the account was last read at all.
WITH ranked AS (
    SELECT
        smspartner_conn_id,
        balance,
        currency,
        toNullable(captured_at) AS known_at_utc,
        ROW_NUMBER() OVER (PARTITION BY smspartner_conn_id ORDER BY captured_at DESC, snapshot_id DESC) AS age
    FROM smspartner_credit_snapshots_final
    WHERE
        balance IS NOT NULL
), readings AS (
    SELECT
        smspartner_conn_id,
        MAX(toNullable(captured_at)) AS read_at_utc
    FROM smspartner_credit_snapshots_final
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
