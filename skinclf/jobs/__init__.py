"""Files in, a table out: formats, resume, shards, run manifest, Ray."""
