"""The sensor that waits for credit."""
