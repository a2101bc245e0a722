-- Gaps that end in the last 30 days: whole hours without any snapshot of an account, the last one up to this hour.
WITH hours AS (
    SELECT DISTINCT
        smspartner_conn_id,
        CAST(DATE_FORMAT(captured_at, '%Y-%m-%d %H:00:00') AS DATETIME) AS hour_utc
    FROM smspartner_credit_snapshots
), between_hours AS (
    SELECT
        smspartner_conn_id,
        hour_utc + INTERVAL '1' HOUR AS from_utc,
        COALESCE(
            LEAD(hour_utc) OVER (PARTITION BY smspartner_conn_id ORDER BY hour_utc),
            CAST(DATE_FORMAT(UTC_TIMESTAMP(), '%Y-%m-%d %H:00:00') AS DATETIME)
        ) AS until_utc
    FROM hours
)
SELECT
    smspartner_conn_id,
    from_utc,
    until_utc,
    CAST((CAST(TIMESTAMPDIFF(MICROSECOND, from_utc, until_utc) AS DECIMAL(30, 9)) / 1000000) / 3600 AS SIGNED) AS hours
FROM between_hours
WHERE
    until_utc > from_utc AND until_utc >= UTC_TIMESTAMP() - INTERVAL '30' DAY
ORDER BY
    from_utc,
    smspartner_conn_id;
