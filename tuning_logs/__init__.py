"""Best verified tuning records that ship with the project, one folder a board model."""
