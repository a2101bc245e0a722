COPY (
    SELECT * FROM smspartner_credit_snapshots WHERE captured_at < '2026-10-26' ORDER BY captured_at
) TO STDOUT WITH (FORMAT csv, HEADER);
