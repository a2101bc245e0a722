-- Gaps that end in the last 30 days: whole hours without any snapshot of an account, the last one up to this hour.
WITH hours AS (
    SELECT DISTINCT
        smspartner_conn_id,
        DATE_TRUNC('HOUR', CAST(CONVERT_TIMEZONE('UTC', captured_at) AS TIMESTAMP_NTZ)) AS hour_utc
    FROM smspartner_credit_snapshots
), between_hours AS (
    SELECT
        smspartner_conn_id,
        DATEADD(HOUR, 1, hour_utc) AS from_utc,
        COALESCE(
            LEAD(hour_utc) OVER (PARTITION BY smspartner_conn_id ORDER BY hour_utc),
            DATE_TRUNC('HOUR', CAST(CONVERT_TIMEZONE('UTC', CURRENT_TIMESTAMP()) AS TIMESTAMP_NTZ))
        ) AS until_utc
    FROM hours
)
SELECT
    smspartner_conn_id,
    from_utc,
    until_utc,
    CAST((TIMESTAMPDIFF(MICROSECOND, from_utc, until_utc) / 1000000) / 3600 AS INT) AS hours
FROM between_hours
WHERE
    until_utc > from_utc
    AND until_utc >= DATEADD(DAY, -30, CAST(CONVERT_TIMEZONE('UTC', CURRENT_TIMESTAMP()) AS TIMESTAMP_NTZ))
ORDER BY
    from_utc,
    smspartner_conn_id;
