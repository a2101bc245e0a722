-- Which campaign reserved and used what: a row for each hold, the first one first.
SELECT
    dag_id,
    run_id,
    epoch,
    amount AS reserved,
    deducted,
    credit_type,
    balance AS balance_then,
    granted_at,
    ended_at,
    COALESCE(ended_how, 'held') AS ended
FROM smspartner_credit_reservations
WHERE granted_at IS NOT NULL
ORDER BY granted_at, reservation_id, epoch;
