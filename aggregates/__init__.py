"""What can happen, and what the rules allow: pure decisions on immutable state."""
