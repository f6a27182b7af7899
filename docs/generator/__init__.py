"""Makes the pages of docs/reference from the code: commands, public names, columns, words, exit codes, figures."""
