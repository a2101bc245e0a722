-- Gaps that end in the last 30 days: whole hours without any snapshot of an account, the last one up to this hour.
WITH hours AS (
    SELECT DISTINCT
        smspartner_conn_id AS smspartner_conn_id,
        DATETRUNC(HOUR, CAST(captured_at AT TIME ZONE 'UTC' AS DATETIME2(6))) AS hour_utc
    FROM smspartner_credit_snapshots
), between_hours AS (
    SELECT
        smspartner_conn_id AS smspartner_conn_id,
        DATEADD(HOUR, 1, hour_utc) AS from_utc,
        COALESCE(LEAD(hour_utc) OVER (PARTITION BY smspartner_conn_id ORDER BY hour_utc), DATETRUNC(HOUR, SYSUTCDATETIME())) AS until_utc
    FROM hours
)
SELECT
    smspartner_conn_id,
    from_utc,
    until_utc,
    CAST((DATEDIFF_BIG(MICROSECOND, from_utc, until_utc) / 1000000.0) / 3600 AS INTEGER) AS hours
FROM between_hours
WHERE
    until_utc > from_utc AND until_utc >= DATEADD(DAY, -30, SYSUTCDATETIME())
ORDER BY
    from_utc,
    smspartner_conn_id;
