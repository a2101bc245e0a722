"""What Airflow's web pages show of this provider."""
