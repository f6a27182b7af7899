"""Training configurations: schema, defaults and YAML files."""
