"""A suite file for a newcomer: `text` writes it out of an existing suite, `command` is what `c2o new-suite` does."""
