-- Consumption per day and account in the last 30 days: every fall of the balance, at the day that showed it.
WITH steps AS (
    SELECT
        smspartner_conn_id,
        currency,
        captured_at AS at_utc,
        LAG(captured_at) OVER (PARTITION BY smspartner_conn_id ORDER BY captured_at, snapshot_id) AS previous_at_utc,
        CASE
            WHEN currency <> LAG(currency) OVER (PARTITION BY smspartner_conn_id ORDER BY captured_at, snapshot_id)
            THEN NULL
            ELSE CAST(balance AS REAL) - LAG(CAST(balance AS REAL)) OVER (PARTITION BY smspartner_conn_id ORDER BY captured_at, snapshot_id)
        END AS difference
    FROM smspartner_credit_snapshots
    WHERE
        balance IS NOT NULL
)
SELECT
    DATE(at_utc) AS day_utc,
    smspartner_conn_id,
    SUM(CASE WHEN difference < 0 THEN -difference ELSE 0 END) AS consumed,
    currency,
    MIN(previous_at_utc) AS since_utc
FROM steps
WHERE
    difference IS NOT NULL
    AND at_utc >= STRFTIME('%Y-%m-%d %H:%M:%S', CURRENT_TIMESTAMP, '-30 days') || SUBSTR(CURRENT_TIMESTAMP, 20)
GROUP BY
    DATE(at_utc),
    smspartner_conn_id,
    currency
ORDER BY
    day_utc,
    smspartner_conn_id;
