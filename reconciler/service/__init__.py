"""What makes the engine a service: schedule, health, metrics, notifications."""
