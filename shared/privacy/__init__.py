"""Redaction of secrets and anonymisation of addresses, before anything is stored. Pure: no I/O and no configuration."""

from shared.privacy.addresses import whole_address
from shared.privacy.cleaning import Cleaned, Privacy, holds_secret

__all__ = ["Cleaned", "Privacy", "holds_secret", "whole_address"]
