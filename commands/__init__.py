"""What can be asked for: one module per use case, and the bus that runs commands in batches."""
