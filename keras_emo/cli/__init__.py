"""The keras-emo command: one module per subcommand."""
