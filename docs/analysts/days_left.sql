-- Days until the credit runs out, at the rate of the 7 days before the last known balance.
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
known AS (
    SELECT latest.*
    FROM accounts
    CROSS JOIN LATERAL (
        SELECT smspartner_conn_id, balance, currency, captured_at AT TIME ZONE 'UTC' AS at_utc
        FROM smspartner_credit_snapshots AS snapshots
        WHERE snapshots.smspartner_conn_id = accounts.smspartner_conn_id AND snapshots.balance IS NOT NULL
        ORDER BY snapshots.captured_at DESC, snapshots.snapshot_id DESC
        LIMIT 1
    ) AS latest
)
SELECT
    known.smspartner_conn_id,
    known.balance,
    known.currency,
    known.at_utc AS known_at_utc,
    CAST(rates.days AS NUMERIC(9, 2)) AS measured_days,
    CAST(rates.consumed / NULLIF(rates.days, 0) AS NUMERIC(30, 2)) AS per_day,
    CAST(GREATEST(known.balance, 0) * NULLIF(rates.days, 0) / NULLIF(rates.consumed, 0) AS NUMERIC(30, 1)) AS days_left
FROM known
CROSS JOIN LATERAL (
    -- A step with a top-up does not show what was consumed in it: it counts neither as consumption nor as time.
    SELECT SUM(-difference) AS consumed, SUM(EXTRACT(EPOCH FROM at_utc - previous_at_utc)) / 86400 AS days
    FROM (
        SELECT
            captured_at AT TIME ZONE 'UTC' AS at_utc,
            LAG(captured_at AT TIME ZONE 'UTC') OVER (ORDER BY captured_at, snapshot_id) AS previous_at_utc,
            balance - LAG(balance) OVER (ORDER BY captured_at, snapshot_id) AS difference
        FROM smspartner_credit_snapshots AS snapshots
        WHERE snapshots.smspartner_conn_id = known.smspartner_conn_id
            AND snapshots.captured_at >= (known.at_utc - INTERVAL '7 days') AT TIME ZONE 'UTC'
            AND snapshots.balance IS NOT NULL
            -- What was in another currency tells nothing of this one.
            AND COALESCE(snapshots.currency, known.currency, '-') = COALESCE(known.currency, snapshots.currency, '-')
    ) AS steps
    WHERE difference <= 0
) AS rates
ORDER BY known.smspartner_conn_id;
