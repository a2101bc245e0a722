-- Gaps that end in the last 30 days: whole hours without any snapshot of an account, the last one up to this hour.
WITH hours AS (
    SELECT DISTINCT smspartner_conn_id, DATE_TRUNC('hour', captured_at AT TIME ZONE 'UTC') AS hour_utc
    FROM smspartner_credit_snapshots
),
between_hours AS (
    SELECT
        smspartner_conn_id,
        hour_utc + INTERVAL '1 hour' AS from_utc,
        COALESCE(
            LEAD(hour_utc) OVER (PARTITION BY smspartner_conn_id ORDER BY hour_utc),
            DATE_TRUNC('hour', CURRENT_TIMESTAMP AT TIME ZONE 'UTC')
        ) AS until_utc
    FROM hours
)
SELECT
    smspartner_conn_id,
    from_utc,
    until_utc,
    CAST(EXTRACT(EPOCH FROM until_utc - from_utc) / 3600 AS INTEGER) AS hours
FROM between_hours
WHERE until_utc > from_utc AND until_utc >= CURRENT_TIMESTAMP AT TIME ZONE 'UTC' - INTERVAL '30 days'
ORDER BY from_utc, smspartner_conn_id;
