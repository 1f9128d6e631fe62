"""What the image's own programs need."""
