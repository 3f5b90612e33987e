"""What an operator asks for: `check`, `explain`, `retry`, `ignore`, `pause`, `resume`, `adopt`, `resolve`.

The face prints it.
"""
