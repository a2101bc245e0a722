"""The operator that keeps snapshots of the credits."""
