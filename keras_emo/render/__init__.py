"""Results become pictures and files: report, chart, annotated video, writers."""
