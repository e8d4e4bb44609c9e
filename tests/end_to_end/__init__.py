"""What a person would do, from the outside, with real processes."""
