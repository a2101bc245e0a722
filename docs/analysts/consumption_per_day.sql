-- Consumption per day and account: every fall of the balance, at the day of the snapshot that showed it.
WITH steps AS (
    SELECT
        smspartner_conn_id,
        currency,
        captured_at AT TIME ZONE 'UTC' AS at_utc,
        LAG(captured_at AT TIME ZONE 'UTC') OVER account AS previous_at_utc,
        balance - LAG(balance) OVER account AS change
    FROM smspartner_credit_snapshots
    WHERE balance IS NOT NULL
    WINDOW account AS (PARTITION BY smspartner_conn_id ORDER BY captured_at, snapshot_id)
)
SELECT
    CAST(at_utc AS DATE) AS day_utc,
    smspartner_conn_id,
    SUM(CASE WHEN change < 0 THEN -change ELSE 0 END) AS consumed,
    MAX(currency) AS currency,
    MIN(previous_at_utc) AS since_utc
FROM steps
WHERE change IS NOT NULL
GROUP BY CAST(at_utc AS DATE), smspartner_conn_id
ORDER BY day_utc, smspartner_conn_id;
