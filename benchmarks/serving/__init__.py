"""The server beside `predict` and other servers."""
