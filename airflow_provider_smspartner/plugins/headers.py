"""What each answer of the credit page tells the browser: no script runs, nothing is kept or comes from elsewhere."""

from __future__ import annotations

POLICY = "Content-Security-Policy"
HEADERS = {
    POLICY: "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
OF_A_PICTURE = {POLICY: "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'"}
"""The library that draws puts its style into the picture."""
