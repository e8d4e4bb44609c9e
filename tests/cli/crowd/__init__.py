"""The simulated buyers, on their own."""
