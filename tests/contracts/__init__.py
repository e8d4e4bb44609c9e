"""The promises that the code makes about itself: its directions, its parts, its pages."""
