-- Delete the snapshots from before a day.
DELETE FROM smspartner_credit_snapshots WHERE captured_at < '2026-10-26';
