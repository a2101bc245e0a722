-- Consumption per day and account in the last 30 days: every fall of the balance, at the day that showed it.
WITH RECURSIVE accounts AS (
    SELECT MIN(smspartner_conn_id) AS smspartner_conn_id
    FROM smspartner_credit_snapshots
    UNION ALL
    SELECT (
        SELECT MIN(further.smspartner_conn_id)
        FROM smspartner_credit_snapshots AS further
        WHERE further.smspartner_conn_id > accounts.smspartner_conn_id
    )
    FROM accounts
    WHERE accounts.smspartner_conn_id IS NOT NULL
),
steps AS (
    SELECT accounts.smspartner_conn_id, steps.*
    FROM accounts
    CROSS JOIN LATERAL (
        SELECT
            currency,
            captured_at AT TIME ZONE 'UTC' AS at_utc,
            LAG(captured_at AT TIME ZONE 'UTC') OVER (ORDER BY captured_at, snapshot_id) AS previous_at_utc,
            -- Amounts of two currencies have no difference.
            CASE
                WHEN currency <> LAG(currency) OVER (ORDER BY captured_at, snapshot_id) THEN NULL
                ELSE balance - LAG(balance) OVER (ORDER BY captured_at, snapshot_id)
            END AS difference
        FROM (
            SELECT captured_at, snapshot_id, balance, currency
            FROM smspartner_credit_snapshots AS snapshots
            WHERE snapshots.smspartner_conn_id = accounts.smspartner_conn_id
                AND snapshots.balance IS NOT NULL
                AND snapshots.captured_at >= CURRENT_TIMESTAMP - INTERVAL '30 days'
            UNION ALL
            -- and the one before them, at which their first step begins
            (
                SELECT captured_at, snapshot_id, balance, currency
                FROM smspartner_credit_snapshots AS snapshots
                WHERE snapshots.smspartner_conn_id = accounts.smspartner_conn_id
                    AND snapshots.balance IS NOT NULL
                    AND snapshots.captured_at < CURRENT_TIMESTAMP - INTERVAL '30 days'
                ORDER BY captured_at DESC, snapshot_id DESC
                LIMIT 1
            )
        ) AS snapshots
    ) AS steps
)
SELECT
    CAST(at_utc AS DATE) AS day_utc,
    smspartner_conn_id,
    SUM(CASE WHEN difference < 0 THEN -difference ELSE 0 END) AS consumed,
    currency,
    MIN(previous_at_utc) AS since_utc
FROM steps
WHERE difference IS NOT NULL
GROUP BY CAST(at_utc AS DATE), smspartner_conn_id, currency
ORDER BY day_utc, smspartner_conn_id;
