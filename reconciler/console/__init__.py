"""What people and pipes get to see: progress and logs on stderr, results on stdout."""
