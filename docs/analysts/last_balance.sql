-- Last known balance per account, and when the account was last read at all.
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
)
SELECT
    accounts.smspartner_conn_id,
    known.balance,
    known.currency,
    known.captured_at AT TIME ZONE 'UTC' AS known_at_utc,
    was_read.captured_at AT TIME ZONE 'UTC' AS read_at_utc
FROM accounts
CROSS JOIN LATERAL (
    SELECT MAX(snapshots.captured_at) AS captured_at
    FROM smspartner_credit_snapshots AS snapshots
    WHERE snapshots.smspartner_conn_id = accounts.smspartner_conn_id
) AS was_read
LEFT JOIN LATERAL (
    SELECT snapshots.balance, snapshots.currency, snapshots.captured_at
    FROM smspartner_credit_snapshots AS snapshots
    WHERE snapshots.smspartner_conn_id = accounts.smspartner_conn_id AND snapshots.balance IS NOT NULL
    ORDER BY snapshots.captured_at DESC, snapshots.snapshot_id DESC
    LIMIT 1
) AS known ON TRUE
WHERE accounts.smspartner_conn_id IS NOT NULL
ORDER BY accounts.smspartner_conn_id;
