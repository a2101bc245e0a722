-- Consumption per day and account in the last 30 days: every fall of the balance, at the day that showed it.
WITH steps AS (
    SELECT
        smspartner_conn_id,
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
    toDate(at_utc) AS day_utc,
    smspartner_conn_id,
    SUM(CASE WHEN difference < 0 THEN -difference ELSE 0 END) AS consumed,
    currency,
    MIN(previous_at_utc) AS since_utc
FROM steps
WHERE
    difference IS NOT NULL AND at_utc >= now('UTC') - INTERVAL 30 DAY
GROUP BY
    toDate(at_utc),
    smspartner_conn_id,
    currency
ORDER BY
    day_utc,
    smspartner_conn_id;
