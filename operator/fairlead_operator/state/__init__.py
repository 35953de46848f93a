"""The nouns of the flow: frozen values that observe makes, plan decides on, effects execute and status reports."""
