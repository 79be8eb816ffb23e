"""Weights and channels that go: scores, masks, schedules, and networks that are really smaller."""
