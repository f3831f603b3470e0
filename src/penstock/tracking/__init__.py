"""What user code says about its run. Standard library, Python 3.6."""
