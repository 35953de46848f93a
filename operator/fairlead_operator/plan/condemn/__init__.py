"""What makes a revision bad: each check in a file of its own."""
