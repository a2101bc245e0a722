-- How long campaigns waited for credit, in seconds, and how many got none.
WITH requests AS (
    SELECT
        smspartner_conn_id,
        dag_id,
        granted_at,
        ended_at,
        CAST(TIMESTAMPDIFF(MICROSECOND, requested_at, granted_at) AS DECIMAL(30, 9)) / 1000000 AS seconds
    FROM smspartner_credit_reservations
)
SELECT
    smspartner_conn_id,
    dag_id,
    COUNT(granted_at) AS granted,
    ROUND(AVG(seconds)) AS waited_on_average,
    ROUND(MAX(seconds)) AS waited_longest,
    COUNT(CASE WHEN granted_at IS NULL AND ended_at IS NOT NULL THEN 1 END) AS gave_up,
    COUNT(CASE WHEN granted_at IS NULL AND ended_at IS NULL THEN 1 END) AS still_waiting
FROM requests
GROUP BY
    smspartner_conn_id,
    dag_id
ORDER BY
    smspartner_conn_id,
    dag_id;
