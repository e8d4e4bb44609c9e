"""What runs in production: the compose file, the image, and the processes that they make."""
