"""The command line of skinclf."""
