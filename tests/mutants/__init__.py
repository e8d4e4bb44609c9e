"""A mutation run: the decisions are changed in a small way, and a test has to fail; then in another."""
