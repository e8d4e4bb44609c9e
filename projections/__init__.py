"""Read models: each with its tables, its event handlers, and its queries."""
