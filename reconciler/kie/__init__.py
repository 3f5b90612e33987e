"""Kie.ai: the client, its wire formats, and a simulated Kie."""
