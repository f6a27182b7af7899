"""What a model is, and how its file becomes a network: specification, bundle, registry, Hub, formats."""
