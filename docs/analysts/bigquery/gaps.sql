-- Gaps that end in the last 30 days: whole hours without any snapshot of an account, the last one up to this hour.
WITH hours AS (
    SELECT DISTINCT
        smspartner_conn_id,
        DATETIME_TRUNC(DATETIME(captured_at, 'UTC'), HOUR) AS hour_utc
    FROM smspartner_credit_snapshots
), between_hours AS (
    SELECT
        smspartner_conn_id,
        DATETIME_ADD(hour_utc, INTERVAL 1 HOUR) AS from_utc,
        COALESCE(
            LEAD(hour_utc) OVER (PARTITION BY smspartner_conn_id ORDER BY hour_utc),
            DATETIME_TRUNC(CURRENT_DATETIME('UTC'), HOUR)
        ) AS until_utc
    FROM hours
)
SELECT
    smspartner_conn_id,
    from_utc,
    until_utc,
    CAST((CAST(DATETIME_DIFF(until_utc, from_utc, MICROSECOND) AS NUMERIC) / 1000000) / 3600 AS INT64) AS hours
FROM between_hours
WHERE
    until_utc > from_utc AND until_utc >= DATETIME_SUB(CURRENT_DATETIME('UTC'), INTERVAL 30 DAY)
ORDER BY
    from_utc,
    smspartner_conn_id;
