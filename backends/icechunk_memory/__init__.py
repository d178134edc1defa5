"""See `plugin`."""
