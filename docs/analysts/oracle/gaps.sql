-- Gaps that end in the last 30 days: whole hours without any snapshot of an account, the last one up to this hour.
WITH hours AS (
    SELECT DISTINCT
        smspartner_conn_id,
        CAST(TRUNC(SYS_EXTRACT_UTC(captured_at), 'HH24') AS TIMESTAMP) AS hour_utc
    FROM smspartner_credit_snapshots
), between_hours AS (
    SELECT
        smspartner_conn_id,
        hour_utc + INTERVAL '1' HOUR AS from_utc,
        COALESCE(
            LEAD(hour_utc) OVER (PARTITION BY smspartner_conn_id ORDER BY hour_utc),
            CAST(TRUNC(SYS_EXTRACT_UTC(SYSTIMESTAMP), 'HH24') AS TIMESTAMP)
        ) AS until_utc
    FROM hours
)
SELECT
    smspartner_conn_id,
    from_utc,
    until_utc,
    CAST((EXTRACT(DAY FROM until_utc - from_utc) * 86400 + EXTRACT(HOUR FROM until_utc - from_utc) * 3600 + EXTRACT(MINUTE FROM until_utc - from_utc) * 60 + EXTRACT(SECOND FROM until_utc - from_utc)) / 3600 AS INT) AS hours
FROM between_hours
WHERE
    until_utc > from_utc AND until_utc >= SYS_EXTRACT_UTC(SYSTIMESTAMP) - INTERVAL '30' DAY
ORDER BY
    from_utc,
    smspartner_conn_id;
