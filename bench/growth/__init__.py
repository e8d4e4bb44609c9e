"""Growth: what the service costs as lines, logs and processes become more (`python -m bench.growth`)."""
