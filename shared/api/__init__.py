"""The HTTP API: one blueprint a resource. Nothing here knows a database; nothing below here knows HTTP."""
