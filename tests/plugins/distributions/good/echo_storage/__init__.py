"""A small but complete storage plugin: objects in a dictionary."""
