"""What the scheduler is asked and what it says."""
