"""How fast the service is, in ratios against what a user would pick instead. Nothing here is asserted in tests."""
