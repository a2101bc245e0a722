-- Days until the credit runs out, at the rate of the 7 days before the last known balance.
WITH steps AS (
    SELECT
        smspartner_conn_id,
        balance,
        currency,
        captured_at AT TIME ZONE 'UTC' AS at_utc,
        LAG(captured_at AT TIME ZONE 'UTC') OVER account AS previous_at_utc,
        balance - LAG(balance) OVER account AS change,
        MAX(captured_at AT TIME ZONE 'UTC') OVER (PARTITION BY smspartner_conn_id) AS last_at_utc,
        ROW_NUMBER() OVER (PARTITION BY smspartner_conn_id ORDER BY captured_at DESC, snapshot_id DESC) AS age
    FROM smspartner_credit_snapshots
    WHERE balance IS NOT NULL
    WINDOW account AS (PARTITION BY smspartner_conn_id ORDER BY captured_at, snapshot_id)
),
-- A step with a top-up does not show what was consumed in it: it counts neither as consumption nor as time.
rates AS (
    SELECT
        smspartner_conn_id,
        SUM(-change) AS consumed,
        SUM(EXTRACT(EPOCH FROM at_utc - previous_at_utc)) / 86400 AS days
    FROM steps
    WHERE change <= 0 AND previous_at_utc >= last_at_utc - INTERVAL '7 days'
    GROUP BY smspartner_conn_id
)
SELECT
    steps.smspartner_conn_id,
    steps.balance,
    steps.currency,
    steps.at_utc AS known_at_utc,
    CAST(rates.days AS NUMERIC(9, 2)) AS measured_days,
    CAST(rates.consumed / NULLIF(rates.days, 0) AS NUMERIC(38, 2)) AS per_day,
    CAST(GREATEST(steps.balance, 0) * NULLIF(rates.days, 0) / NULLIF(rates.consumed, 0) AS NUMERIC(38, 1)) AS days_left
FROM steps
LEFT JOIN rates ON rates.smspartner_conn_id = steps.smspartner_conn_id
WHERE steps.age = 1
ORDER BY steps.smspartner_conn_id;
