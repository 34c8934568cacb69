"""Views of the artefacts: one sentence, a terminal report, a Markdown report."""
