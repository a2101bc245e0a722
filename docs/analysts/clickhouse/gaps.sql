-- Gaps that end in the last 30 days: whole hours without any snapshot of an account, the last one up to this hour.
WITH hours AS (
    SELECT DISTINCT
        smspartner_conn_id,
        toStartOfHour(toNullable(captured_at)) AS hour_utc
    FROM smspartner_credit_snapshots_final
), between_hours AS (
    SELECT
        smspartner_conn_id,
        hour_utc + INTERVAL 1 HOUR AS from_utc,
        COALESCE(lead(hour_utc) OVER (PARTITION BY smspartner_conn_id ORDER BY hour_utc), toStartOfHour(now('UTC'))) AS until_utc
    FROM hours
)
SELECT
    smspartner_conn_id,
    from_utc,
    until_utc,
    CAST((dateDiff('microsecond', from_utc, until_utc) / 1000000) / 3600 AS Nullable(Int32)) AS hours
FROM between_hours
WHERE
    until_utc > from_utc AND until_utc >= now('UTC') - INTERVAL 30 DAY
ORDER BY
    from_utc,
    smspartner_conn_id;
