-- Top-ups in the last 30 days: every rise of the balance, between which two snapshots, and how much at least.
WITH steps AS (
    SELECT
        smspartner_conn_id,
        balance,
        currency,
        captured_at AT TIME ZONE 'UTC' AS at_utc,
        LAG(captured_at AT TIME ZONE 'UTC') OVER (
            PARTITION BY smspartner_conn_id ORDER BY captured_at, snapshot_id
        ) AS previous_at_utc,
        CASE
            WHEN currency <> LAG(currency) OVER (PARTITION BY smspartner_conn_id ORDER BY captured_at, snapshot_id) THEN NULL
            ELSE balance - LAG(balance) OVER (PARTITION BY smspartner_conn_id ORDER BY captured_at, snapshot_id)
        END AS difference
    FROM smspartner_credit_snapshots
    WHERE balance IS NOT NULL
)
SELECT
    smspartner_conn_id,
    previous_at_utc AS after_utc,
    at_utc AS seen_at_utc,
    difference AS at_least,
    balance,
    currency
FROM steps
WHERE difference > 0 AND at_utc >= CURRENT_TIMESTAMP AT TIME ZONE 'UTC' - INTERVAL '30 days'
ORDER BY seen_at_utc, smspartner_conn_id;
