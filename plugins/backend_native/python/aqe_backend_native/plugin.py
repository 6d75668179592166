"""What the native backend offers, as the entry point ``native`` names it."""

AQE_API = 1
