"""What must hold over any history whatever."""
