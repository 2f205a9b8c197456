"""What the user asked for: the schema of a config, its types, and how a YAML file is read."""
