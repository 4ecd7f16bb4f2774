"""The port on PostgreSQL."""
