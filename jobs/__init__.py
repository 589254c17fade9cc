"""What is submitted to Ray: each job parses its configuration, calls one function and prints the result line."""
