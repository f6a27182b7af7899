"""Model cards, and bundles published on the Hugging Face Hub."""
