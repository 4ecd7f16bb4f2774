"""The embedded default: JSON lines in plain files, one a model and day, beside an SQLite index that is only a cache."""
