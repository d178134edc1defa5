"""Random programs against simple models."""
