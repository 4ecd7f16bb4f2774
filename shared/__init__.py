"""The LogoGen data service: records in over HTTP, queries and statistics out, on a database that configuration chooses."""

__version__ = "0.1.0"
