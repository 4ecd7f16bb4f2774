"""MongoDB and what speaks its protocol, through pymongo's own async client."""
