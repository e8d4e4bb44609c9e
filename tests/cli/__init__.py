"""The command line: what it takes, what it says, and the processes that it runs."""
