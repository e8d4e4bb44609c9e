"""A crowd of simulated buyers that go the whole way over HTTP."""
