"""What runs on the compute node. Standard library, Python 3.6."""
