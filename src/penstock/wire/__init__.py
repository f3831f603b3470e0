"""The formats that Penstock and its runner share. Standard library, Python 3.6."""
