"""``python -m icechunk_encryption`` prints a new key."""

from icechunk_encryption._keys import new_key

print(new_key())
