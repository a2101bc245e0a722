"""Airflow provider for SMS Partner: ask an account for its credit, wait for it, keep its history."""

__version__ = "1.1.0"
