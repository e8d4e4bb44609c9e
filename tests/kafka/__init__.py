"""A real Kafka for tests and benchmarks: its programs from Maven, and a broker of one's own."""
