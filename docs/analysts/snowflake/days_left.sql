-- Days until the credit runs out, at the rate of the 7 days before the last known balance.
-- A step with a top-up does not show what was consumed in it: it counts neither as consumption nor as time.
WITH steps AS (
    SELECT
        smspartner_conn_id,
        balance,
        currency,
        CAST(CONVERT_TIMEZONE('UTC', captured_at) AS TIMESTAMP_NTZ) AS at_utc,
        LAG(CAST(CONVERT_TIMEZONE('UTC', captured_at) AS TIMESTAMP_NTZ)) OVER (PARTITION BY smspartner_conn_id ORDER BY captured_at, snapshot_id) AS previous_at_utc,
        CASE
            WHEN currency <> LAG(currency) OVER (PARTITION BY smspartner_conn_id ORDER BY captured_at, snapshot_id)
            THEN NULL
            ELSE balance - LAG(balance) OVER (PARTITION BY smspartner_conn_id ORDER BY captured_at, snapshot_id)
        END AS difference,
        MAX(CAST(CONVERT_TIMEZONE('UTC', captured_at) AS TIMESTAMP_NTZ)) OVER (PARTITION BY smspartner_conn_id) AS last_at_utc,
        FIRST_VALUE(currency) OVER (
            PARTITION BY smspartner_conn_id
            ORDER BY captured_at DESC, snapshot_id DESC
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS last_currency,
        ROW_NUMBER() OVER (PARTITION BY smspartner_conn_id ORDER BY captured_at DESC, snapshot_id DESC) AS age
    FROM smspartner_credit_snapshots
    WHERE
        balance IS NOT NULL
), rates AS (
    SELECT
        smspartner_conn_id,
        SUM(-difference) AS consumed,
        SUM(TIMESTAMPDIFF(MICROSECOND, previous_at_utc, at_utc) / 1000000) / 86400 AS days
    FROM steps
    WHERE
        difference <= 0
        AND previous_at_utc >= DATEADD(DAY, -7, last_at_utc)
        AND COALESCE(currency, last_currency, '-') = COALESCE(last_currency, currency, '-')
    GROUP BY
        smspartner_conn_id
)
SELECT
    steps.smspartner_conn_id,
    steps.balance,
    steps.currency,
    steps.at_utc AS known_at_utc,
    CAST(rates.days AS DECIMAL(9, 2)) AS measured_days,
    CAST(rates.consumed / NULLIF(rates.days, 0) AS DECIMAL(30, 2)) AS per_day,
    CAST(CASE WHEN steps.balance > 0 THEN steps.balance ELSE 0 END * NULLIF(rates.days, 0) / NULLIF(rates.consumed, 0) AS DECIMAL(30, 1)) AS days_left
FROM steps
LEFT JOIN rates
    ON rates.smspartner_conn_id = steps.smspartner_conn_id
WHERE
    steps.age = 1
ORDER BY
    steps.smspartner_conn_id;
