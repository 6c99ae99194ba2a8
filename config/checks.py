"""System checks: what is configured wrongly, each with an id (``docs/operators.md``)."""
