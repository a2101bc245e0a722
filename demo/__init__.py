"""What the commands `make demo` and `make airflow` run."""
