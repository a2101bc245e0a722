-- Gaps that end in the last 30 days: whole hours without any snapshot of an account, the last one up to this hour.
WITH hours AS (
    SELECT DISTINCT
        smspartner_conn_id,
        STRFTIME('%Y-%m-%d %H:00:00', captured_at) AS hour_utc
    FROM smspartner_credit_snapshots
), between_hours AS (
    SELECT
        smspartner_conn_id,
        STRFTIME('%Y-%m-%d %H:00:00', hour_utc, '+1 hour') AS from_utc,
        COALESCE(
            LEAD(hour_utc) OVER (PARTITION BY smspartner_conn_id ORDER BY hour_utc),
            STRFTIME('%Y-%m-%d %H:00:00', CURRENT_TIMESTAMP)
        ) AS until_utc
    FROM hours
)
SELECT
    smspartner_conn_id,
    from_utc,
    until_utc,
    CAST((86400 * (JULIANDAY(until_utc) - JULIANDAY(from_utc))) / 3600 AS INTEGER) AS hours
FROM between_hours
WHERE
    until_utc > from_utc
    AND until_utc >= STRFTIME('%Y-%m-%d %H:%M:%S', CURRENT_TIMESTAMP, '-30 days') || SUBSTR(CURRENT_TIMESTAMP, 20)
ORDER BY
    from_utc,
    smspartner_conn_id;
