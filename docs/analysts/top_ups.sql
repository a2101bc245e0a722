-- Top-ups in the last 30 days: every rise of the balance, between which two snapshots, and how much at least.
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
            balance,
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
    smspartner_conn_id,
    previous_at_utc AS after_utc,
    at_utc AS seen_at_utc,
    difference AS at_least,
    balance,
    currency
FROM steps
WHERE difference > 0
ORDER BY seen_at_utc, smspartner_conn_id;
