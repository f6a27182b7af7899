"""Checks of maps: randomised weights, insertion and deletion, expert masks, each beside what knows nothing."""
