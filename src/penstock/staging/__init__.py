"""Code to the node, results from it."""
