"""Pure decisions: from YAML to runs, from runs to arrays, from evidence to transitions."""
