"""What the commands that call models share: targets, arguments, results."""
