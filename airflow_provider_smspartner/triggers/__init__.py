"""The trigger that waits for credit without a worker slot."""
