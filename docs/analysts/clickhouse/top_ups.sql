-- Top-ups in the last 30 days: every rise of the balance, between which two snapshots, and how much at least.
WITH steps AS (
    SELECT
        smspartner_conn_id,
        balance,
        currency,
        toNullable(captured_at) AS at_utc,
        lag(toNullable(captured_at)) OVER (PARTITION BY smspartner_conn_id ORDER BY captured_at, snapshot_id) AS previous_at_utc,
        CASE
            WHEN currency <> lag(currency) OVER (PARTITION BY smspartner_conn_id ORDER BY captured_at, snapshot_id)
            THEN NULL
            ELSE balance - lag(balance) OVER (PARTITION BY smspartner_conn_id ORDER BY captured_at, snapshot_id)
        END AS difference
    FROM smspartner_credit_snapshots_final
    WHERE
        balance IS NOT NULL
)
SELECT
    smspartner_conn_id,
    previous_at_utc AS after_utc,
    at_utc AS seen_at_utc,
    difference AS at_least,
    balance,
    currency
FROM steps
WHERE
    difference > 0 AND at_utc >= now('UTC') - INTERVAL 30 DAY
ORDER BY
    seen_at_utc,
    smspartner_conn_id;
