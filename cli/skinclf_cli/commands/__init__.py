"""Commands: one module each, or one package where a command has many options or subcommands."""
