"""`kubectl fairlead`: what a rollout does, and what people ask of it."""
