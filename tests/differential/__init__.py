"""The same random programs on icechunk-core and on Icechunk, side by side."""
