"""GET /v1/me, from an Airflow connection to an Account. Knows nothing of SQL."""
