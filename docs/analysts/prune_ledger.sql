DELETE FROM smspartner_credit_reservations WHERE ended_at < '2026-07-01';
DELETE FROM smspartner_credit_reservations_deductions WHERE NOT EXISTS (
    SELECT 1
    FROM smspartner_credit_reservations
    WHERE smspartner_credit_reservations.reservation_id = smspartner_credit_reservations_deductions.reservation_id
        AND smspartner_credit_reservations.epoch = smspartner_credit_reservations_deductions.epoch
);
