"""Contract tests that ship with the package, so that a new member inherits them."""
