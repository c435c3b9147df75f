"""Steps and derivations that several stories share."""
