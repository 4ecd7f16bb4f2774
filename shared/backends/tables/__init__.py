"""The port on Azure Tables: a table a model, newest first by the keys alone."""
