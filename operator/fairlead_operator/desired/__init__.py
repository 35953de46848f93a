"""What should be: pure functions from the object and its kept revisions."""
