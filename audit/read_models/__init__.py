"""What the read models must show, told again from the log, and compared with what they do show."""
