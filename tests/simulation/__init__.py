"""The read path under seeded schedules in virtual time: each seed is one run, the same each time it is played."""
