-- Consumption per day and account in the last 30 days: every fall of the balance, at the day that showed it.
WITH steps AS (
    SELECT
        smspartner_conn_id,
        currency,
        CAST(CONVERT_TIMEZONE('UTC', captured_at) AS TIMESTAMP_NTZ) AS at_utc,
        LAG(CAST(CONVERT_TIMEZONE('UTC', captured_at) AS TIMESTAMP_NTZ)) OVER (PARTITION BY smspartner_conn_id ORDER BY captured_at, snapshot_id) AS previous_at_utc,
        CASE
            WHEN currency <> LAG(currency) OVER (PARTITION BY smspartner_conn_id ORDER BY captured_at, snapshot_id)
            THEN NULL
            ELSE balance - LAG(balance) OVER (PARTITION BY smspartner_conn_id ORDER BY captured_at, snapshot_id)
        END AS difference
    FROM smspartner_credit_snapshots
    WHERE
        balance IS NOT NULL
)
SELECT
    CAST(at_utc AS DATE) AS day_utc,
    smspartner_conn_id,
    SUM(CASE WHEN difference < 0 THEN -difference ELSE 0 END) AS consumed,
    currency,
    MIN(previous_at_utc) AS since_utc
FROM steps
WHERE
    difference IS NOT NULL
    AND at_utc >= DATEADD(DAY, -30, CAST(CONVERT_TIMEZONE('UTC', CURRENT_TIMESTAMP()) AS TIMESTAMP_NTZ))
GROUP BY
    CAST(at_utc AS DATE),
    smspartner_conn_id,
    currency
ORDER BY
    day_utc,
    smspartner_conn_id;
