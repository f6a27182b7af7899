"""Training, data preparation and publishing for skinclf."""
