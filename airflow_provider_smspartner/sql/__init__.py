"""The tables, from a connection id to rows. Knows nothing of HTTP."""
