"""What an operator asks for: `check`, `explain`, `retry`, `ignore`, `pause`, `adopt`, `resolve`. The face prints it."""
