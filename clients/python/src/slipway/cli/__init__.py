"""The command ``slipway``. It only turns words into calls of the client, and answers into words."""
